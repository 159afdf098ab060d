"""How good probabilities are, and where to cut them: metrics, and the threshold a contract's decision asks for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from churn.contract import Decision

Probabilities = NDArray[np.float64]
Labels = NDArray[np.bool_]
QUANTILES = 201


def choose_threshold(probabilities: Probabilities, labels: Labels, decision: Decision) -> float:
    """The cut that `probability >= cut` should use, halfway between two neighbouring scores.

    With a recall target: the highest cut that reaches it. Else: the most profit without contacting more than the
    capacity; 1.0 or above, contacting nobody, when every contact loses money.
    """
    order = np.argsort(-probabilities, kind="stable")
    ranked = probabilities[order]
    leavers = np.cumsum(labels[order])
    contacted = np.arange(1, len(ranked) + 1)
    # A cut can only fall between different scores, so only the last of equal ones is a candidate.
    candidates = np.flatnonzero(np.append(ranked[:-1] != ranked[1:], True))
    if decision.recall_target is not None:
        enough = candidates[leavers[candidates] >= decision.recall_target * labels.sum()]
        return _cut_below(ranked, int(enough[0]))
    affordable = candidates[contacted[candidates] <= decision.capacity * len(ranked)]
    if not len(affordable):
        return _above(ranked)
    profits = np.array([decision.profit(int(leavers[i]), int(contacted[i] - leavers[i])) for i in affordable])
    best = int(np.argmax(profits))
    return _cut_below(ranked, int(affordable[best])) if profits[best] > 0 else _above(ranked)


def ranking_metrics(probabilities: Probabilities, labels: Labels) -> dict[str, float]:
    """What needs no threshold: auc, average_precision, log_loss, brier."""
    clipped = np.clip(probabilities, 1e-15, 1 - 1e-15)
    return {
        "auc": float(roc_auc_score(labels, probabilities)),
        "average_precision": float(average_precision_score(labels, probabilities)),
        "log_loss": float(-np.mean(np.where(labels, np.log(clipped), np.log1p(-clipped)))),
        "brier": float(np.mean((probabilities - labels) ** 2)),
    }


def decision_metrics(
    probabilities: Probabilities, labels: Labels, threshold: float, decision: Decision
) -> dict[str, float]:
    """What the threshold yields: recall, precision (1.0 when nobody is contacted), contacted_share, and profit in
    the decision's currency per 1,000 customers."""
    contacted = probabilities >= threshold
    hits = int(np.sum(contacted & labels))
    count = int(contacted.sum())
    return {
        "recall": hits / max(int(labels.sum()), 1),
        "precision": hits / count if count else 1.0,
        "contacted_share": count / len(labels),
        "profit_per_1000": 1_000 * decision.profit(hits, count - hits) / len(labels),
    }


def align(values: NDArray[np.float64], of: NDArray[np.float64], to: NDArray[np.float64]) -> NDArray[np.float64]:
    """Move values monotonically so that `of` would be spread as `to` is: quantile to quantile, the ends shifted."""
    shares = np.linspace(0.0, 1.0, QUANTILES)
    sources, targets = np.quantile(of, shares), np.quantile(to, shares)
    moved = np.interp(values, sources, targets)
    moved = np.where(values < sources[0], values + (targets[0] - sources[0]), moved)
    return np.where(values > sources[-1], values + (targets[-1] - sources[-1]), moved)


def log_loss_of_log_odds(log_odds: NDArray[np.float64], labels: Labels) -> float:
    """Mean log loss, stable for large log-odds."""
    return float(np.mean(np.logaddexp(0.0, np.where(labels, -log_odds, log_odds))))


def _cut_below(ranked: Probabilities, index: int) -> float:
    """Halfway down to the next lower score; the score itself when there is none."""
    return float((ranked[index] + ranked[index + 1]) / 2) if index + 1 < len(ranked) else float(ranked[index])


def _above(ranked: Probabilities) -> float:
    return float(np.nextafter(max(1.0, float(ranked[0])), 2.0))
