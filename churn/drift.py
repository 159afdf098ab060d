"""Verdicts on a window of predictions, with a declared budget of false alarms.

The budget is the chance that a quiet window (one drawn from the reference's population) flags any column at all. It
holds at any number of rows, because every test counts the sampling error of the reference and of the window, and the
p-values are corrected twice: over a column's own tests (Bonferroni) and over the columns (Holm). The figures that
show it are in docs/drift.md. A column drifts when its corrected p-value is within the budget and its effect is at
least the smallest that matters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from churn.histogram import INVALID, MISSING, UNKNOWN, Column, ColumnKind, Counts, Histograms, Profile
from churn.two_sample import (
    Outcome,
    effect_size,
    holm,
    homogeneity,
    js_distance,
    kolmogorov_smirnov,
    psi,
    rank_sum,
    two_shares,
)

State = Literal["ok", "insufficient", "stale", "broken"]

FALSE_ALARM_BUDGET = 0.01
MINIMUM_EFFECT = 0.02
"""Smallest effect (a Jensen-Shannon distance) that counts: about 0.05 standard deviations of a bell curve. Small on
purpose: a larger one hides real shifts in large windows, and the tests alone keep noise out."""


@dataclass(frozen=True, slots=True)
class ColumnVerdict:
    """What one column's tests say. `method` and `statistic` are those of its most significant test.

    `p_value` is corrected over the column's own tests, `adjusted_p_value` also over the columns: it is compared with
    `threshold`, the budget. `effect` is `js_distance` less what sampling alone brings.
    """

    column: str
    kind: ColumnKind
    method: str
    statistic: float
    p_value: float
    adjusted_p_value: float
    threshold: float
    js_distance: float
    psi: float
    effect: float
    minimum_effect: float
    missing_share: float
    unknown_share: float
    invalid_share: float
    out_of_range_share: float
    reference_missing_share: float
    reference_unknown_share: float
    drifted: bool
    reason: str


@dataclass(frozen=True, slots=True)
class WindowVerdict:
    """What a window's columns say together. `columns` is empty unless the state is ok; `reason` is a sentence."""

    state: State
    reason: str
    rows: int
    reference_rows: int
    budget: float
    columns: tuple[ColumnVerdict, ...] = ()

    @property
    def drifted(self) -> tuple[str, ...]:
        """The columns that drifted, most significant first."""
        flagged = [column for column in self.columns if column.drifted]
        return tuple(c.column for c in sorted(flagged, key=lambda c: (c.adjusted_p_value, -c.effect)))

    def column(self, name: str) -> ColumnVerdict:
        """Raises StopIteration for a column that was not judged."""
        return next(column for column in self.columns if column.column == name)

    def to_json(self) -> dict[str, Any]:
        """Plain values, with the names of the columns that drifted beside."""
        return asdict(self) | {"columns": [asdict(column) for column in self.columns], "drifted": list(self.drifted)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> WindowVerdict:
        """The inverse of `to_json`; fields of newer versions are left out."""
        columns = tuple(
            ColumnVerdict(**{name: entry[name] for name in ColumnVerdict.__dataclass_fields__})
            for entry in document["columns"]
        )
        fields = {name: document[name] for name in ("state", "reason", "rows", "reference_rows", "budget")}
        return cls(**fields, columns=columns)


def judge(
    profile: Profile,
    window: Histograms,
    budget: float = FALSE_ALARM_BUDGET,
    minimum_rows: int = 1,
    minimum_effect: float = MINIMUM_EFFECT,
) -> WindowVerdict:
    """Compare a window with the reference. Never raises: what cannot be judged has the state that says so."""
    reference = profile.reference
    if window.layout != profile.layout:
        return WindowVerdict("broken", "the counts belong to another bundle", window.rows, reference.rows, budget)
    if window.rows < max(1, minimum_rows) or not reference.rows:
        return WindowVerdict(
            "insufficient", _too_few(window, reference, minimum_rows), window.rows, reference.rows, budget
        )
    tests = {c.name: _tests(c, reference.counts[c.name], window.counts[c.name]) for c in profile.layout}
    p_values = [min(1.0, len(of) * min((t.p_value for t in of), default=1.0)) for of in tests.values()]
    columns = tuple(
        _verdict(column, reference, window, tests[column.name], p_value, adjusted, budget, minimum_effect)
        for column, p_value, adjusted in zip(profile.layout, p_values, holm(p_values), strict=True)
    )
    drifted = sum(column.drifted for column in columns)
    reason = f"{drifted} of {len(columns)} columns drifted" if drifted else "no column drifted"
    return WindowVerdict("ok", reason, window.rows, reference.rows, budget, columns)


def broken(reason: str, rows: int = 0, budget: float = FALSE_ALARM_BUDGET) -> WindowVerdict:
    """The verdict on a window that nothing can be compared with."""
    return WindowVerdict("broken", reason, rows, 0, budget)


def _too_few(window: Histograms, reference: Histograms, minimum_rows: int) -> str:
    if not reference.rows:
        return "the reference has no rows"
    if not window.rows:
        return "no predictions"
    return f"{window.rows} rows, at least {minimum_rows} are needed"


def _tests(column: Column, reference: Counts, window: Counts) -> list[Outcome]:
    """The tests of one column. One whose outcome the margins fix (nothing missing on either side) cannot alarm and is
    left out, so that it costs the others nothing (R. E. Tarone, Biometrics 46, 1990)."""
    old, new = reference[: column.values], window[: column.values]
    tests = []
    if old.any() and new.any():
        if column.is_numeric:
            tests += [kolmogorov_smirnov(old, new), rank_sum(old, new)]
        elif ((old + new) > 0).sum() > 1:
            tests.append(homogeneity(old, new))
    rows, window_rows = int(reference.sum()), int(window.sum())
    for method, cells in (("missing_share", (MISSING,)), ("unknown_share", (UNKNOWN, INVALID))):
        hits, window_hits = (int(sum(counts[cell] for cell in cells)) for counts in (reference, window))
        if 0 < hits + window_hits < rows + window_rows:
            tests.append(two_shares(method, hits, rows, window_hits, window_rows))
    return tests


def _verdict(
    column: Column,
    reference: Histograms,
    window: Histograms,
    tests: list[Outcome],
    p_value: float,
    adjusted: float,
    budget: float,
    minimum_effect: float,
) -> ColumnVerdict:
    old, new = reference.counts[column.name], window.counts[column.name]
    best = min(tests, key=lambda test: test.p_value, default=Outcome("none", 0.0, 1.0))
    effect = effect_size(old, new)
    drifted = adjusted <= budget and effect >= minimum_effect
    outside = int(new[0] + new[column.values - 1]) if column.is_numeric and column.edges else 0
    return ColumnVerdict(
        column=column.name,
        kind=column.kind,
        method=best.method,
        statistic=best.statistic,
        p_value=p_value,
        adjusted_p_value=adjusted,
        threshold=budget,
        js_distance=js_distance(old, new),
        psi=psi(old, new),
        effect=effect,
        minimum_effect=minimum_effect,
        missing_share=int(new[MISSING]) / window.rows,
        unknown_share=int(new[UNKNOWN]) / window.rows,
        invalid_share=int(new[INVALID]) / window.rows,
        out_of_range_share=outside / window.rows,
        reference_missing_share=int(old[MISSING]) / reference.rows,
        reference_unknown_share=int(old[UNKNOWN]) / reference.rows,
        drifted=drifted,
        reason=_reason(best, adjusted, budget, effect, minimum_effect),
    )


def _reason(best: Outcome, adjusted: float, budget: float, effect: float, minimum_effect: float) -> str:
    if adjusted > budget:
        return f"as the reference: chance {adjusted:.2g} is above the budget {budget:g}"
    found = f"{best.method} {best.statistic:.3g}, chance {adjusted:.2g}, effect {effect:.3f}"
    return found if effect >= minimum_effect else f"{found}: too small to matter, below {minimum_effect:g}"
