"""Histogram cells -> shares that a person can read: equal stretches for numbers, the levels for the rest."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from churn.histogram import EXTRA_CELLS, MISSING, UNKNOWN, Column, Counts
from reporting.document import Bars

STRETCHES = 24
MOST_LEVELS = 12
Shares = NDArray[np.float64]


def bars(column: Column, reference: Counts, window: Counts) -> Bars:
    """Both counts of a column on the cells of its chart. Missing and unknown are levels, but no numbers."""
    if not column.is_numeric:
        return _level_bars(column, reference, window)
    if not column.edges:
        return Bars("levels", ["any"], *(shares(c[:1]).tolist() for c in (reference, window)))
    if _one_cell_a_value(column.edges):
        labels = [f"{edge:.0f}" for edge in column.edges[:-1]]
        cells = [counts[: column.values].astype(float) for counts in (reference, window)]
        return Bars("values", ["lower", *labels, "higher"], *(shares(c).tolist() for c in cells))
    low, high = column.edges[0], column.edges[-1]
    cuts = np.linspace(low, high, STRETCHES + 1)
    shown = [number(cut, high - low) for cut in cuts.tolist()]
    spread = [_spread(column, counts, cuts) for counts in (reference, window)]
    names = [f"below {shown[0]}", *(f"{a} to {b}" for a, b in pairwise(shown)), f"above {shown[-1]}"]
    return Bars("steps", names, *(shares(c).tolist() for c in spread))


def number(value: float, span: float = 0.0) -> str:
    """A number as an axis of this span shows it: 12,500 or 0.037, and 0 for what is nothing beside the span."""
    if abs(value) <= span / 1_000:
        return "0"
    if 1_000 <= abs(value) < 1e9:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _one_cell_a_value(edges: tuple[float, ...]) -> bool:
    whole = edges[:-1]
    return all(edge == int(edge) for edge in whole) and all(b - a == 1 for a, b in pairwise(whole))


def _spread(column: Column, counts: Counts, cuts: Shares) -> Shares:
    """Each quantile cell's count, laid evenly over its stretch; one as narrow as a value goes to one bar."""
    spread = np.zeros(STRETCHES + 2)
    spread[0], spread[-1] = counts[0], counts[column.values - 1]
    width = cuts[1] - cuts[0]
    for (start, end), count in zip(pairwise(column.edges), counts[1 : column.values - 1].tolist(), strict=True):
        if end - start <= 1e-9 * width:
            index = int(np.clip(np.searchsorted(cuts, start, side="right") - 1, 0, STRETCHES - 1))
            spread[index + 1] += count
        else:
            overlap = np.clip(np.minimum(cuts[1:], end) - np.maximum(cuts[:-1], start), 0.0, None)
            spread[1:-1] += count * overlap / overlap.sum()
    return spread


def _level_bars(column: Column, reference: Counts, window: Counts) -> Bars:
    labels = column.labels()[:-EXTRA_CELLS]
    sides = [counts[: column.values].astype(float) for counts in (reference, window)]
    if len(labels) > MOST_LEVELS:
        labels, sides = _fold(labels, sides)
    for label, cell in (("missing", MISSING), ("unknown", UNKNOWN)):
        if reference[cell] or window[cell]:
            labels = [*labels, label]
            sides = [np.append(side, c[cell]) for side, c in zip(sides, (reference, window), strict=True)]
    return Bars("levels", labels, *(shares(side).tolist() for side in sides))


def _fold(labels: list[str], sides: list[Shares]) -> tuple[list[str], list[Shares]]:
    """Keep the levels that moved most, in their order; the rest become one."""
    moved = np.abs(shares(sides[0]) - shares(sides[1])) + 1e-6 * shares(sides[0])
    kept = np.sort(np.argsort(-moved, kind="stable")[: MOST_LEVELS - 1])
    rest = np.setdiff1d(np.arange(len(labels)), kept)
    names = [*(labels[index] for index in kept), f"{len(rest)} others"]
    return names, [np.append(side[kept], side[rest].sum()) for side in sides]


def shares(counts: NDArray[Any]) -> Shares:
    """Counts as shares of their sum; all 0 when there are none."""
    total = counts.sum()
    return counts / total if total else counts.astype(float)
