"""Realised performance of a window whose ground truth has come."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from churn.contract import Decision
from churn.prediction import Label, Prediction
from reporting.document import Labels

SMALLEST_CLASS = 10
"""Fewer labels of a class say nothing about ranking."""


def realised(pairs: Iterable[tuple[Prediction, Label]], decision: Decision | None) -> Labels | None:
    """The figures of the labelled predictions; None when there are no labels, a reason when too few."""
    rows = [(prediction.churn_probability, prediction.churn, label.churned) for prediction, label in pairs]
    if not rows:
        return None
    probability, flagged, churned = (np.array(column) for column in zip(*rows, strict=True))
    leavers = int(churned.sum())
    if min(leavers, len(rows) - leavers) < SMALLEST_CLASS:
        reason = f"{len(rows)} labels, {leavers} of them left: at least {SMALLEST_CLASS} of each kind are needed"
        return Labels(len(rows), leavers, reason=reason)
    caught = int((flagged & churned).sum())
    figures = {
        "auc": _auc(probability, churned),
        "log_loss": _log_loss(probability, churned),
        **({"precision": caught / int(flagged.sum())} if flagged.any() else {}),
        "recall": caught / leavers,
        "churn_rate": leavers / len(rows),
        "mean_probability": float(probability.mean()),
    }
    if decision is not None:
        figures["profit"] = decision.profit(caught, int(flagged.sum()) - caught)
    return Labels(len(rows), leavers, figures)


def _auc(probability: NDArray[np.float64], churned: NDArray[np.bool_]) -> float:
    """The Mann-Whitney share of pairs ranked rightly, ties counted half."""
    _, position, times = np.unique(probability, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(times) - (times - 1) / 2)[position]
    leavers = int(churned.sum())
    return float((ranks[churned].sum() - leavers * (leavers + 1) / 2) / (leavers * (len(churned) - leavers)))


def _log_loss(probability: NDArray[np.float64], churned: NDArray[np.bool_]) -> float:
    likely = np.clip(np.where(churned, probability, 1.0 - probability), 1e-15, 1.0)
    return float(-np.log(likely).mean())
