"""Two models on the same rows of known truth: figures, their intervals and the interval of their difference."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np

from churn.contract import Decision
from churn.performance import calibration_error
from orchestration.replay import Answers, Flags, Floats

REPLICATES = 400
REPLICATES_AT_ONCE = 20
CURVE_CELLS = 10


class Interval(msgspec.Struct, frozen=True):
    """A figure with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


class Cell(msgspec.Struct, frozen=True):
    """One cell of a reliability curve: mean probability, share that left, rows."""

    probability: float
    churned_share: float
    rows: int


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """One model on the rows whose truth is known. Figures: auc, log_loss, brier, recall, precision, contacted_share
    and profit_per_1000 in the contract's currency, by its own threshold."""

    figures: dict[str, Interval]
    calibration_error: float
    curve: list[Cell]


def compare(
    churned: Flags, decision: Decision, challenger: Answers, champion: Answers | None, seed: int = 0
) -> tuple[Judged, Judged | None, dict[str, Interval]]:
    """Both models on the same rows, and challenger minus champion: each replicate draws the same rows for both, so
    that what is hard in the sample does not count as a difference (paired bootstrap, Poisson weights)."""
    random = np.random.default_rng(seed)
    parts: dict[str, list[dict[str, Floats]]] = {"challenger": [], "champion": []}
    models = {"challenger": challenger, **({"champion": champion} if champion else {})}
    for _ in range(0, REPLICATES, REPLICATES_AT_ONCE):
        weights = random.poisson(1.0, (REPLICATES_AT_ONCE, len(churned))).astype(np.float64)
        for name, given in models.items():
            parts[name].append(_figures(weights, given, churned, decision))
    once = np.ones((1, len(churned)))
    values, draws = {}, {}
    for name, given in models.items():
        values[name] = {figure: float(value[0]) for figure, value in _figures(once, given, churned, decision).items()}
        draws[name] = {figure: np.concatenate([part[figure] for part in parts[name]]) for figure in values[name]}
    judged = {name: _judged(models[name], churned, values[name], draws[name]) for name in models}
    if champion is None:
        return judged["challenger"], None, {}
    difference = {
        figure: _interval(
            values["challenger"][figure] - values["champion"][figure],
            draws["challenger"][figure] - draws["champion"][figure],
        )
        for figure in values["challenger"]
    }
    return judged["challenger"], judged["champion"], difference


def base_rate_log_loss(churned: Flags) -> float:
    """The log loss of always answering the share that left: what any model must beat."""
    share = float(churned.mean())
    return float(-(share * np.log(share) + (1 - share) * np.log(1 - share)))


def _figures(weights: Floats, given: Answers, churned: Flags, decision: Decision) -> dict[str, Floats]:
    """Each figure for each row of weights, shape (replicates,). NaN where a replicate holds too little for it."""
    scores, contacted = given.probabilities, given.contacted
    total, leavers = weights.sum(axis=1), weights @ churned
    right = np.clip(np.where(churned, scores, 1.0 - scores), 1e-15, 1.0)
    hits, calls = weights @ (contacted & churned), weights @ contacted
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "auc": _weighted_auc(weights, scores, churned),
            "log_loss": weights @ -np.log(right) / total,
            "brier": weights @ (scores - churned) ** 2 / total,
            "recall": hits / leavers,
            "precision": hits / calls,
            "contacted_share": calls / total,
            "profit_per_1000": 1_000 * (hits * decision.profit(1, 0) + (calls - hits) * decision.profit(0, 1)) / total,
        }


def _weighted_auc(weights: Floats, scores: Floats, churned: Flags) -> Floats:
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) > 0])
    ranked, left = weights[:, order], churned[order]
    leavers = np.add.reduceat(ranked * left, starts, axis=1)
    stayers = np.add.reduceat(ranked * ~left, starts, axis=1)
    below = np.cumsum(stayers, axis=1) - stayers
    right: Floats = (leavers * (below + 0.5 * stayers)).sum(axis=1)
    pairs: Floats = leavers.sum(axis=1) * stayers.sum(axis=1)
    return right / pairs


def _judged(given: Answers, churned: Flags, values: Mapping[str, float], draws: Mapping[str, Floats]) -> Judged:
    figures = {name: _interval(value, draws[name]) for name, value in values.items() if np.isfinite(value)}
    error = calibration_error(given.probabilities, churned)
    return Judged(figures=figures, calibration_error=error, curve=_curve(given.probabilities, churned))


def _curve(scores: Floats, churned: Flags) -> list[Cell]:
    cells = np.minimum((scores * CURVE_CELLS).astype(int), CURVE_CELLS - 1)
    held = [cells == cell for cell in range(CURVE_CELLS)]
    return [
        Cell(float(scores[rows].mean()), float(churned[rows].mean()), int(rows.sum())) for rows in held if rows.any()
    ]


def _interval(value: float, draws: Floats) -> Interval:
    finite = draws[np.isfinite(draws)]
    if not len(finite) or not np.isfinite(value):
        return Interval(value, value, value)
    low, high = np.quantile(finite, [0.025, 0.975])
    return Interval(value, float(low), float(high))
