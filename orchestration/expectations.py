"""Counts the rows of a file that break what a contract's [[warnings]] expect: told with figures, never set aside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from churn.contract import Contract
from churn.expectation import Expectation

LINES_KEPT = 5


class Expectations:
    """One file's counts. Bounded memory: of the rows that break an expectation, only the first lines are kept."""

    def __init__(self, contract: Contract) -> None:
        self._of = [(expectation, _Count()) for expectation in contract.warnings]

    def look(self, frame: pd.DataFrame, lines: Sequence[int]) -> None:
        """Judge a cleaned chunk, rows that are set aside for other reasons among them; `lines` are its rows'."""
        for expectation, count in self._of:
            judged, broken = _broken(expectation, frame)
            count.judged += int(judged.sum())
            count.broken += int(broken.sum())
            first = np.flatnonzero(broken)[: LINES_KEPT - len(count.lines)]
            count.lines += [lines[row] for row in first]

    def told(self) -> list[dict[str, Any]]:
        """Each expectation with its figures, as a manifest holds them."""
        return [
            {"says": one.says, "judged": count.judged, "broken": count.broken, "first_lines": count.lines}
            for one, count in self._of
        ]


def sentence(warning: dict[str, Any]) -> str:
    """One of `told`, for a person."""
    judged, broken = warning["judged"], warning["broken"]
    lines = ", ".join(str(line) for line in warning["first_lines"])
    found = f"{broken:,} of {judged:,} rows differ ({broken / judged:.2%}), the first on line {lines}" if broken else ""
    return f"{warning['says']}: {found or f'so in all {judged:,} rows'}"


class _Count:
    def __init__(self) -> None:
        self.judged = 0
        self.broken = 0
        self.lines: list[int] = []


def _broken(expectation: Expectation, frame: pd.DataFrame) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    values = frame[expectation.column].to_numpy(dtype=np.float64)
    product = np.ones(len(values))
    for name in expectation.product:
        product = product * frame[name].to_numpy(dtype=np.float64)
    judged = ~(np.isnan(values) | np.isnan(product))
    broken = (values < expectation.minimum) | (values > expectation.maximum)
    if expectation.product:
        broken |= np.abs(values - product) > expectation.tolerance * np.abs(product)
    return judged, broken & judged
