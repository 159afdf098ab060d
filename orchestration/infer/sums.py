"""Columns that are exactly the sum or the difference of two others: they add nothing, and blur explanations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

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
            for second in range(first + 1, last):
                sign = _sign(sample[first], sample[second], sample[last])
                if sign and _holds(sign, values[first], values[second], values[last], complete):
                    a, b = numeric[first].name, numeric[second].name
                    found[numeric[last].name] = f"exactly {_told(sign, a, b)} in every row"
    return found


def _sign(a: Floats, b: Floats, c: Floats) -> str:
    for sign, value in (("+", a + b), ("-", a - b), ("reversed", b - a)):
        if np.allclose(value, c, rtol=TOLERANCE, atol=TOLERANCE):
            return sign
    return ""


def _holds(sign: str, a: Floats, b: Floats, c: Floats, rows: NDArray[np.int64]) -> bool:
    return _sign(a[rows], b[rows], c[rows]) == sign


def _told(sign: str, a: str, b: str) -> str:
    return f"'{b}' - '{a}'" if sign == "reversed" else f"'{a}' {sign} '{b}'"
