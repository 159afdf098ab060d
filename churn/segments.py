"""Which groups of customers came more or less often than in the reference, or are scored otherwise?

Every value of one column (numbers in quarters of the reference) and every pair of values of two columns is a segment.
Of each, the share of rows is compared, and the mean score. There are thousands of segments, so the share of false ones
among those named is held at `FALSE_SHARE`, however they depend on each other (Y. Benjamini and D. Yekutieli, Annals of
Statistics 29, 2001). A pair is named only where it says more than either of its two columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from churn.distributions import normal_below, x_log_y
from churn.histogram import SCORE, Column, Profile

if TYPE_CHECKING:
    import pandas

Codes = NDArray[np.int64]
Floats = NDArray[np.float64]

FALSE_SHARE = 0.05
QUARTERS = 4
SMALLEST_EXPECTED = 10.0
"""A segment must expect so many rows in the window, and as many outside it, for its share to be tested."""
SMALLEST_SCORED = 100
"""Rows of a segment on either side for its mean score to be compared."""
PAIR_GAIN = 1.25
"""A pair's share must have grown or shrunk so many times as much as each of its columns' did."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Rows with these values. `score_change` is None where there are too few rows; the q-values are the false shares
    at which it would just be named."""

    columns: tuple[str, ...]
    values: tuple[str, ...]
    rows: int
    share: float
    reference_share: float
    share_q_value: float
    score_change: float | None
    score_q_value: float

    @property
    def name(self) -> str:
        """The segment in words: `plan basic and region north`."""
        return " and ".join(f"{column} {value}" for column, value in zip(self.columns, self.values, strict=True))


class _Coded(NamedTuple):
    """A column's rows as cell numbers, on both sides."""

    name: str
    labels: list[str]
    reference: Codes
    window: Codes


class _Counted(NamedTuple):
    """The segments of one column or pair: rows and sums of scores in each cell, on both sides."""

    columns: tuple[str, ...]
    values: list[tuple[str, ...]]
    rows: tuple[Floats, Floats]
    means: tuple[Floats, Floats]
    variances: tuple[Floats, Floats]


def find_segments(
    profile: Profile, reference: pandas.DataFrame, window: pandas.DataFrame, limit: int = 20
) -> list[Segment]:
    """The segments that changed, the largest change of share first. The frames hold features and the score."""
    if not len(reference) or not len(window):
        return []
    coded = [_code(c, reference, window) for c in profile.layout if c.kind not in ("score", "class")]
    scores = tuple(side[SCORE].to_numpy(dtype=np.float64) for side in (reference, window))
    counted = [_count(group, scores) for size in (1, 2) for group in combinations(coded, size)]
    share_p = np.concatenate([_share_p_values(one) for one in counted])
    score_p = np.concatenate([_score_p_values(one) for one in counted])
    q_values = _benjamini_yekutieli(np.concatenate([share_p, score_p]))
    named = _named(counted, q_values[: len(share_p)], q_values[len(share_p) :])
    return sorted(named, key=lambda s: -abs(s.share - s.reference_share))[:limit]


def _code(column: Column, reference: pandas.DataFrame, window: pandas.DataFrame) -> _Coded:
    sides = [side.get(column.name) for side in (reference, window)]
    if not column.is_numeric:
        places = {level: place for place, level in enumerate(column.levels)}
        missing = len(column.levels)
        codes = [
            np.array([places.get(value, missing) for value in side.tolist()], np.int64)
            if side is not None
            else np.full(rows, missing)
            for side, rows in zip(sides, (len(reference), len(window)), strict=True)
        ]
        return _Coded(column.name, [*(str(level) for level in column.levels), "missing"], codes[0], codes[1])
    numbers = [
        np.full(rows, np.nan) if side is None else side.to_numpy(dtype=np.float64, na_value=np.nan)
        for side, rows in zip(sides, (len(reference), len(window)), strict=True)
    ]
    present = numbers[0][np.isfinite(numbers[0])]
    cuts = np.unique(np.quantile(present, np.arange(1, QUARTERS) / QUARTERS)) if len(present) else np.zeros(0)
    codes = [np.where(np.isfinite(side), np.searchsorted(cuts, side, side="right"), len(cuts) + 1) for side in numbers]
    return _Coded(column.name, [*_quarters(cuts), "missing"], codes[0], codes[1])


def _quarters(cuts: Floats) -> list[str]:
    if not len(cuts):
        return ["any"]
    shown = [f"{cut:.4g}" for cut in cuts]
    return [f"below {shown[0]}", *(f"{a} to {b}" for a, b in pairwise(shown)), f"from {shown[-1]}"]


def _count(group: tuple[_Coded, ...], scores: tuple[Floats, ...]) -> _Counted:
    last = group[-1]
    width = len(last.labels)
    first_labels = group[0].labels if len(group) == 2 else [""]
    cells = len(first_labels) * width if len(group) == 2 else width
    rows, means, variances = [], [], []
    for side in (0, 1):
        code = (last.reference, last.window)[side]
        if len(group) == 2:
            code = (group[0].reference, group[0].window)[side] * width + code
        n = np.bincount(code, minlength=cells).astype(np.float64)
        sums = np.bincount(code, scores[side], minlength=cells)
        squares = np.bincount(code, scores[side] ** 2, minlength=cells)
        mean = sums / np.maximum(n, 1)
        rows.append(n)
        means.append(mean)
        variances.append(np.maximum(squares / np.maximum(n, 1) - mean**2, 1e-12))
    values = [(a, b) for a in first_labels for b in last.labels] if len(group) == 2 else [(b,) for b in last.labels]
    names = tuple(column.name for column in group)
    return _Counted(names, list(values), (rows[0], rows[1]), (means[0], means[1]), (variances[0], variances[1]))


def _share_p_values(counted: _Counted) -> Floats:
    """Chi-square of a table of two by two, Pearson's or the likelihood ratio's, whichever finds less: the first alone
    takes a dozen rows more in a small segment for far rarer than they are. NaN where too few rows are expected."""
    old, new = counted.rows
    total_old, total_new = old.sum(), new.sum()
    pooled = (old + new) / (total_old + total_new)
    smaller = min(total_old, total_new)
    usable = np.minimum(pooled, 1 - pooled) * smaller >= SMALLEST_EXPECTED
    pearson, ratio = np.zeros(len(old)), np.zeros(len(old))
    for rows, total in ((old, total_old), (new, total_new)):
        for seen, expected in ((rows, pooled * total), (total - rows, (1 - pooled) * total)):
            expected = np.maximum(expected, 1e-12)
            pearson += (seen - expected) ** 2 / expected
            ratio += 2 * x_log_y(seen, np.maximum(seen, 1e-12) / expected)
    statistic = np.sqrt(np.maximum(np.minimum(pearson, ratio), 0.0))
    return np.where(usable, 2 * normal_below(-statistic), np.nan)


def _score_p_values(counted: _Counted) -> Floats:
    """Two means with the pooled variance, since scores are so skewed that few rows show too little of their own; NaN
    where too few rows have it."""
    (old, new), (mean_old, mean_new), (var_old, var_new) = counted.rows, counted.means, counted.variances
    usable = np.minimum(old, new) >= SMALLEST_SCORED
    between = old * new / np.maximum(old + new, 1) * (mean_new - mean_old) ** 2
    pooled = (old * var_old + new * var_new + between) / np.maximum(old + new - 1, 1)
    error = np.sqrt(pooled * (1 / np.maximum(old, 1) + 1 / np.maximum(new, 1)))
    return np.where(usable, 2 * normal_below(-np.abs(mean_new - mean_old) / np.maximum(error, 1e-12)), np.nan)


def _benjamini_yekutieli(p_values: Floats) -> Floats:
    """Adjusted p-values, 1 where there was no test."""
    tested = np.flatnonzero(~np.isnan(p_values))
    adjusted = np.ones(len(p_values))
    if not len(tested):
        return adjusted
    order = tested[np.argsort(p_values[tested], kind="stable")]
    places = np.arange(1, len(order) + 1)
    raw = p_values[order] * len(order) * (1 / places).sum() / places
    adjusted[order] = np.minimum(1.0, np.minimum.accumulate(raw[::-1])[::-1])
    return adjusted


def _named(counted: list[_Counted], share_q: Floats, score_q: Floats) -> Iterator[Segment]:
    start = 0
    growth: dict[tuple[str, str], float] = {}
    for one in counted:
        old, new = one.rows[0] / one.rows[0].sum(), one.rows[1] / one.rows[1].sum()
        log_growth = np.log((new + 1e-4) / (old + 1e-4))
        if len(one.columns) == 1:
            growth |= {(one.columns[0], v[0]): float(g) for v, g in zip(one.values, log_growth, strict=True)}
        for place, values in enumerate(one.values):
            q_share, q_score = float(share_q[start + place]), float(score_q[start + place])
            if min(q_share, q_score) > FALSE_SHARE or not _says_more(one, values, float(log_growth[place]), growth):
                continue
            scored = min(one.rows[0][place], one.rows[1][place]) >= SMALLEST_SCORED
            change = float(one.means[1][place] - one.means[0][place]) if scored else None
            rows = int(one.rows[1][place])
            yield Segment(one.columns, values, rows, float(new[place]), float(old[place]), q_share, change, q_score)
        start += len(one.values)


def _says_more(
    counted: _Counted, values: tuple[str, ...], growth: float, of_columns: dict[tuple[str, str], float]
) -> bool:
    if len(values) == 1:
        return True
    parents = [abs(of_columns[name, value]) for name, value in zip(counted.columns, values, strict=True)]
    return abs(growth) > max(parents) + float(np.log(PAIR_GAIN))
