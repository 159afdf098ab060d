"""Columns that are exactly the sum or the difference of two others: they add nothing, and blur explanations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from orchestration.infer.column import Column, Floats

MOST_COLUMNS = 60
SAMPLE_ROWS = 50
TOLERANCE = 1e-6
FEWEST_VALUES, FEWEST_IN_SUM = 3, 20
"""Columns of fewer different numbers add up by chance."""


def exact_sums(columns: Sequence[Column]) -> dict[str, str]:
    """By name, the last of each such three, and the reason in words."""
    numeric = [c for c in columns if c.number_share == 1.0 and c.distinct >= FEWEST_VALUES][:MOST_COLUMNS]
    values = [column.values for column in numeric]
    if len(numeric) < 3:
        return {}
    complete = np.flatnonzero(~np.isnan(np.sum(values, axis=0)))
    if len(complete) < SAMPLE_ROWS:
        return {}
    sample = np.stack([value[complete[:: len(complete) // SAMPLE_ROWS][:SAMPLE_ROWS]] for value in values])
    found: dict[str, str] = {}
    for last in (i for i, column in enumerate(numeric) if column.distinct >= FEWEST_IN_SUM):
        for first in range(last):
            for second, sign in _partners(sample, first, last):
                if _holds(sign, *(values[i][complete] for i in (first, second, last))):
                    told = _told(sign, numeric[first].name, numeric[second].name)
                    found.setdefault(numeric[last].name, f"exactly {told} in every row")
    return found


def _partners(sample: Floats, first: int, last: int) -> Iterator[tuple[int, str]]:
    """Columns before the last that make it up together with the first, in the sample."""
    added, subtracted = sample[last] - sample[first], sample[first] - sample[last]
    others = sample[:last]
    for sign, wanted in (("+", added), ("-", subtracted)):
        close = np.isclose(others, wanted, rtol=TOLERANCE, atol=TOLERANCE).all(axis=1)
        yield from ((int(second), sign) for second in np.flatnonzero(close) if second != first)


def _holds(sign: str, a: Floats, b: Floats, c: Floats) -> bool:
    return bool(np.allclose(a + b if sign == "+" else a - b, c, rtol=TOLERANCE, atol=TOLERANCE))


def _told(sign: str, a: str, b: str) -> str:
    return f"'{a}' {sign} '{b}'"
