"""Is a window fit to be read at all? Missing, unknown, out of range, constant and invalid values, column by column.

Each share has a threshold: the reference's own share plus a tolerance. An alarm needs a share above it and a chance,
given the sampling error of both samples, within the budget divided over all checks, so that a small window's luck is
no alarm.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from churn.histogram import INVALID, MISSING, UNKNOWN, Column, Counts, Histograms, Profile
from churn.two_sample import two_shares

Check = Literal["missing", "unknown", "invalid", "out_of_range", "constant"]
CHECKS: tuple[Check, ...] = ("missing", "unknown", "invalid", "out_of_range", "constant")

TOLERANCES: dict[Check, float] = {
    "missing": 0.02,
    "unknown": 0.005,
    "invalid": 0.0,  # the encoder lets none through: one is one too many
    "out_of_range": 0.02,
    "constant": 0.0,
}
"""How far a share may exceed the reference's, in shares of all rows."""


@dataclass(frozen=True, slots=True)
class QualityProblem:
    """One column that fails one check. `share` is above `threshold`; `p_value` is the chance of that by sampling."""

    column: str
    check: Check
    share: float
    reference_share: float
    threshold: float
    p_value: float
    reason: str


def find_problems(profile: Profile, window: Histograms, budget: float = 0.01) -> tuple[QualityProblem, ...]:
    """The checks that fail, in the order of the columns. An empty window has none."""
    if not window.rows or window.layout != profile.layout:
        return ()
    limit = budget / (len(profile.layout) * len(CHECKS))
    return tuple(problem for column in profile.layout for problem in _check(column, profile, window, limit))


def _check(column: Column, profile: Profile, window: Histograms, limit: float) -> Iterator[QualityProblem]:
    old, new = profile.reference.counts[column.name], window.counts[column.name]
    rows = profile.reference.rows
    cells: dict[Check, int] = {"missing": MISSING, "unknown": UNKNOWN, "invalid": INVALID}
    for check, cell in cells.items():
        share, reference_share = int(new[cell]) / window.rows, int(old[cell]) / max(1, rows)
        threshold = reference_share + TOLERANCES[check]
        if share > threshold:
            chance = two_shares(check, int(old[cell]), rows, int(new[cell]), window.rows).p_value if rows else 0.0
            if chance <= limit or check == "invalid":
                reason = f"{share:.1%} {check}, in the reference {reference_share:.1%}"
                yield QualityProblem(column.name, check, share, reference_share, threshold, chance, reason)
    if column.is_numeric and column.edges:
        yield from _out_of_range(column, rows, new, window.rows, limit)
    yield from _constant(column, old, new, window, limit)


def _out_of_range(column: Column, rows: int, new: Counts, window_rows: int, limit: float) -> Iterator[QualityProblem]:
    """Rows outside the reference's range. That the k outermost of both samples together all lie in the window has a
    chance of (w / (r + w))^k, for each of the k + 1 ways to divide them between the two ends."""
    outside = int(new[0] + new[column.values - 1])
    share, threshold = outside / window_rows, TOLERANCES["out_of_range"]
    if share <= threshold:
        return
    chance = min(1.0, (outside + 1) * (window_rows / (rows + window_rows)) ** outside)
    if chance <= limit:
        reason = f"{share:.1%} outside the reference's range {column.edges[0]:.6g} to {column.edges[-1]:.6g}"
        yield QualityProblem(column.name, "out_of_range", share, 0.0, threshold, chance, reason)


def _constant(column: Column, old: Counts, new: Counts, window: Histograms, limit: float) -> Iterator[QualityProblem]:
    """A single value where the reference has several. That n rows fall into one cell has a chance of at most the
    largest cell's share to the power n - 1."""
    values, present = old[: column.values], int(new[: column.values].sum())
    if column.kind == "class" or np.count_nonzero(values) < 2 or present < 2:
        return
    if np.count_nonzero(new[: column.values]) > 1:
        return
    if column.is_numeric and len(set(window.ranges[column.name])) > 1:
        return
    chance = float(values.max() / values.sum()) ** (present - 1)
    if chance <= limit:
        cell = int(np.flatnonzero(new[: column.values])[0])
        value = f"{window.ranges[column.name][0]:.6g}" if column.is_numeric else str(column.levels[cell])
        yield QualityProblem(column.name, "constant", 1.0, 0.0, 1.0, chance, f"every value is {value}")
