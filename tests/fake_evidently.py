"""Evidently, answering at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from churn.contract import Contract
from churn.evidently_report import EvidentlyResult, EvidentlyScore
from churn.prediction import Prediction

Send = Callable[..., list[Prediction]]
"""The fixture `send` of tests/reporting."""


class FakeEvidently:
    """Answers at once that `drifted` drifted, and remembers what it was asked."""

    def __init__(self, drifted: Mapping[str, float] | None = None) -> None:
        self.drifted = dict(drifted or {})
        self.asked: list[tuple[int, int]] = []

    def __call__(
        self, contract: Contract, reference: pd.DataFrame, window: pd.DataFrame, page: Path
    ) -> EvidentlyResult:
        self.asked.append((len(reference), len(window)))
        page.write_bytes(b"<html>evidently</html>")
        scores = tuple(
            EvidentlyScore(name, "ks", self.drifted.get(name, 0.5), 0.001, name in self.drifted)
            for name in contract.feature_names
        )
        return EvidentlyResult(scores, (), len(reference), len(window), page.read_bytes())
