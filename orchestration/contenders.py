"""The best candidate of each family on the same validation rows, and what its curves are drawn from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from churn.bundle import Bundle
from churn.contract import Decision
from orchestration.training import TrainingSet

Floats = NDArray[np.float64]
SHAP_ROWS = {"random_forest": 60}
"""A forest's contributions take 60 ms a row, all others' less than 2."""
MOST_SHAP_ROWS = 500
CALIBRATION_CELLS = 10


@dataclass(frozen=True)
class Contender:
    """A candidate and its probabilities of the validation rows."""

    bundle: Bundle
    probabilities: Floats

    @property
    def family(self) -> str:
        return self.bundle.model.family


@dataclass(frozen=True)
class ThresholdCurve:
    """What every threshold would have yielded, from the highest to the lowest."""

    thresholds: Floats
    profit_per_1000: Floats
    recall: Floats
    precision: Floats


@dataclass(frozen=True)
class Contributions:
    """SHAP contributions in log-odds, and each feature's value as a rank from 0 to 1 (NaN: missing, or a category)."""

    features: tuple[str, ...]
    contributions: Floats
    ranks: Floats


def contender(bundle: Bundle, data: TrainingSet) -> Contender:
    return Contender(bundle, bundle.probabilities(data.matrix[data.parts.validation]))


def roc(one: Contender, labels: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """False positive rate, true positive rate."""
    false, true, _ = roc_curve(labels, one.probabilities)
    return false, true


def precision_recall(one: Contender, labels: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Recall, precision."""
    precision, recall, _ = precision_recall_curve(labels, one.probabilities)
    return recall, precision


def calibration(one: Contender, labels: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Mean probability and share that left, in cells of equally many customers."""
    cells = np.array_split(np.argsort(one.probabilities, kind="stable"), CALIBRATION_CELLS)
    held = [cell for cell in cells if len(cell)]
    return (
        np.array([one.probabilities[cell].mean() for cell in held]),
        np.array([labels[cell].mean() for cell in held]),
    )


def threshold_curve(one: Contender, labels: NDArray[np.bool_], decision: Decision) -> ThresholdCurve:
    order = np.argsort(-one.probabilities, kind="stable")
    hits, contacted = np.cumsum(labels[order]), np.arange(1, len(order) + 1)
    profit = np.array([decision.profit(h, c - h) for h, c in zip(hits, contacted, strict=True)])
    return ThresholdCurve(
        one.probabilities[order], 1_000 * profit / len(order), hits / max(int(labels.sum()), 1), hits / contacted
    )


def explain(one: Contender, data: TrainingSet) -> Contributions:
    """Of a sample of the validation rows, the first since they are shuffled."""
    rows = data.parts.validation[: SHAP_ROWS.get(one.family, MOST_SHAP_ROWS)]
    matrix, encoder = data.matrix[rows], one.bundle.encoder
    ranks = np.full((len(rows), len(data.contract.features)), np.nan)
    for index, feature in enumerate(encoder.layout()["features"]):
        if len(feature["columns"]) == 1:
            ranks[:, index] = _ranks(matrix[:, encoder.columns.index(feature["columns"][0])])
    return Contributions(data.contract.feature_names, one.bundle.contributions(matrix)[:, :-1], ranks)


def _ranks(values: NDArray[np.float32]) -> Floats:
    """Equal values share a rank; a missing one has none."""
    known = np.unique(values[~np.isnan(values)])
    ranks = np.searchsorted(known, values) / max(len(known) - 1, 1)
    return np.where(np.isnan(values), np.nan, ranks)
