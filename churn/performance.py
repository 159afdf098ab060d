"""How well a model decides: realised where labels have come, estimated from its own probabilities where not.

The estimate (confidence-based performance estimation, CBPE; J. Bialek et al., "Estimating model performance under
covariate shift without labels", 2024) takes each calibrated probability as the chance that the label will be true.
It sees what a changed population does to the figures. It is blind to concept drift: when the same customers begin to
behave differently, it goes on telling the old figures. Only labels can tell; so both stand side by side, and their
difference is a metric.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from churn.contract import Decision

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Kind = Literal["estimated", "realised"]

Z95 = 1.959964
SMALLEST_CLASS = 10
"""With fewer leavers or stayers, ranking and recall say nothing."""
LABEL_DRAWS = 200
"""Labels drawn from the probabilities to learn how far luck alone moves the realised figures."""
LARGEST_DRAWN = 20_000
LARGEST_OUTSIDE = 0.02
"""With a larger share of scores outside the reference's, the calibration is guesswork and nothing is estimated."""
CALIBRATION_CELLS = 10
MATURE_COVERAGE = 0.8
"""A cohort with a smaller share of labels is immature: those who leave are often known before those who stay."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A value with its 95 % interval; `low` and `high` equal it where none can be given."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Performance:
    """Figures by name: auc, log_loss, precision, recall, f1, calibration_error, churn_rate, profit (in the contract's
    currency, for all rows counted). Empty with a `reason` where they cannot be told. `rows` are those counted,
    `coverage` their share of the window."""

    kind: Kind
    rows: int
    coverage: float
    reason: str = ""
    figures: Mapping[str, Figure] = field(default_factory=dict)

    @property
    def mature(self) -> bool:
        """Whether enough of the predictions are labelled for the figures to be final."""
        return bool(self.figures) and self.coverage >= MATURE_COVERAGE

    def to_json(self) -> dict[str, Any]:
        """Plain values for the store."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Performance:
        """The inverse of `to_json`."""
        figures = {name: Figure(**figure) for name, figure in document["figures"].items()}
        return cls(document["kind"], document["rows"], document["coverage"], document["reason"], figures)


@dataclass(frozen=True, slots=True)
class Recalibration:
    """Score -> chance, as the reference's out-of-fold scores and labels have it: a rising curve through `scores` and
    `chances`. Bundles are calibrated by two parameters; this corrects what two parameters cannot."""

    scores: Floats
    chances: Floats
    rows: int

    def __call__(self, scores: Floats) -> Floats:
        return np.interp(scores, self.scores, self.chances)

    def outside(self, scores: Floats) -> float:
        """The share of scores beyond all the reference's: no label was ever seen there."""
        if not len(scores):
            return 0.0
        return float(((scores < self.scores[0]) | (scores > self.scores[-1])).mean())


def recalibrate(scores: Floats, churned: Flags) -> Recalibration:
    """Isotonic regression by pooling adjacent violators (M. Ayer et al., Annals of Mathematical Statistics 26, 1955),
    each pool softened by half a row of either class, so that no chance is 0 or 1, and joined by straight lines."""
    order = np.argsort(scores, kind="stable")
    pools: list[list[float]] = []  # leavers, rows, sum of scores
    for score, label in zip(scores[order].tolist(), churned[order].tolist(), strict=True):
        pools.append([float(label), 1.0, score])
        while len(pools) > 1 and pools[-2][0] * pools[-1][1] >= pools[-1][0] * pools[-2][1]:
            leavers, rows, total = pools.pop()
            pools[-1] = [pools[-1][0] + leavers, pools[-1][1] + rows, pools[-1][2] + total]
    table = np.array(pools)
    chances = np.maximum.accumulate((table[:, 0] + 0.5) / (table[:, 1] + 1.0))
    centres, ends = table[:, 2] / table[:, 1], np.sort(scores)[[0, -1]]
    through = np.concatenate([ends[:1], centres, ends[1:]])
    return Recalibration(through, np.concatenate([chances[:1], chances, chances[-1:]]), len(scores))


def realised(
    scores: Floats, flagged: Flags, churned: Flags, window_rows: int, decision: Decision | None = None
) -> Performance:
    """The figures of labelled predictions. `window_rows` counts those without a label too."""
    rows, leavers = len(churned), int(churned.sum())
    coverage = rows / window_rows if window_rows else 0.0
    if min(leavers, rows - leavers) < SMALLEST_CLASS:
        reason = f"{rows} labels, {leavers} of them left: at least {SMALLEST_CLASS} of each kind are needed"
        return Performance("realised", rows, coverage, reason)
    caught = int((flagged & churned).sum())
    figures = {
        "auc": _auc_figure(scores, churned),
        "log_loss": _mean(-np.log(np.clip(np.where(churned, scores, 1.0 - scores), 1e-15, 1.0))),
        "recall": _share(caught, leavers),
        "churn_rate": _share(leavers, rows),
        "calibration_error": _alone(calibration_error(scores, churned)),
        "f1": _alone(2 * caught / (int(flagged.sum()) + leavers)),
    }
    if flagged.any():
        figures["precision"] = _share(caught, int(flagged.sum()))
    if decision is not None:
        figures["profit"] = _profit(flagged, churned, decision)
    return Performance("realised", rows, coverage, "", figures)


def estimated(
    scores: Floats, flagged: Flags, chances_of: Recalibration, decision: Decision | None = None, seed: int = 0
) -> Performance:
    """The figures to expect once labels come. The interval is where the realised figure of these very rows should
    fall in 95 of 100 windows: the luck of the labels, here and in the reference, is in it."""
    rows = len(scores)
    chances = chances_of(scores)
    expected = float(chances.sum())
    outside = chances_of.outside(scores)
    if outside > LARGEST_OUTSIDE:
        reason = f"cannot estimate: {outside:.1%} of the scores lie beyond all of the reference's"
        return Performance("estimated", rows, 1.0, reason)
    if min(expected, rows - expected) < SMALLEST_CLASS:
        return Performance("estimated", rows, 1.0, f"cannot estimate: about {expected:.0f} of {rows} rows will leave")
    centre = _expected(scores, flagged, chances, decision)
    reach = _reach(scores, flagged, chances, chances_of.rows, decision, seed)
    figures = {name: Figure(value, value + reach[name][0], value + reach[name][1]) for name, value in centre.items()}
    return Performance("estimated", rows, 1.0, "", figures)


def _expected(scores: Floats, flagged: Flags, chances: Floats, decision: Decision | None) -> dict[str, float]:
    clipped = np.clip(scores, 1e-15, 1 - 1e-15)
    return {
        "auc": _expected_auc(scores, chances),
        "log_loss": float(-(chances * np.log(clipped) + (1 - chances) * np.log(1 - clipped)).mean()),
        "churn_rate": float(chances.mean()),
        **_expected_decisions(flagged, chances, decision),
    }


def _reach(
    scores: Floats, flagged: Flags, chances: Floats, reference_rows: int, decision: Decision | None, seed: int
) -> dict[str, tuple[float, float]]:
    """How far below and above the expected figure the realised one may fall: the luck of these rows' labels, widened
    for that of the labels that `chances` were learnt from. Of very many rows a sample is drawn and scaled."""
    random, rows = np.random.default_rng(seed), len(scores)
    if rows > LARGEST_DRAWN:
        some = random.choice(rows, LARGEST_DRAWN, replace=False)
        scores, flagged, chances = scores[some], flagged[some], chances[some]
    drawn_rows = len(scores)
    drawn = _figures_of_draws(scores, flagged, random.random((LABEL_DRAWS, drawn_rows)) < chances, decision)
    widened = math.sqrt(drawn_rows / rows) * math.sqrt(1 + rows / reference_rows)
    reach = {}
    for name, value in _expected(scores, flagged, chances, decision).items():
        low, high = np.nanquantile(drawn[name], [0.025, 0.975]) - value
        scale = widened * (rows / drawn_rows if name == "profit" else 1.0)
        reach[name] = min(0.0, float(low) * scale), max(0.0, float(high) * scale)
    return reach


def auc(scores: Floats, churned: Flags) -> float:
    """The share of (leaver, stayer) pairs ranked rightly, ties counted half."""
    ranks = _mid_ranks(scores)
    leavers = int(churned.sum())
    return float((ranks[churned].sum() - leavers * (leavers + 1) / 2) / (leavers * (len(churned) - leavers)))


def calibration_error(scores: Floats, churned: Flags) -> float:
    """Expected calibration error: the mean distance of predicted and seen share over ten cells of equal width."""
    cells = np.minimum((scores * CALIBRATION_CELLS).astype(int), CALIBRATION_CELLS - 1)
    gaps = np.bincount(cells, scores - churned, minlength=CALIBRATION_CELLS)
    return float(np.abs(gaps).sum() / len(scores))


def _mid_ranks(scores: Floats) -> Floats:
    _, position, times = np.unique(scores, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(times) - (times - 1) / 2)[position], dtype=np.float64)


def _auc_figure(scores: Floats, churned: Flags) -> Figure:
    """With the variance of E. DeLong et al. (Biometrics 44, 1988), from each row's placement among the others."""
    ranks = _mid_ranks(scores)
    above = (ranks[churned] - _mid_ranks(scores[churned])) / int((~churned).sum())
    below = 1.0 - (ranks[~churned] - _mid_ranks(scores[~churned])) / int(churned.sum())
    value = float(above.mean())
    error = math.sqrt(float(above.var(ddof=1)) / len(above) + float(below.var(ddof=1)) / len(below))
    return Figure(value, max(0.0, value - Z95 * error), min(1.0, value + Z95 * error))


def _expected_auc(scores: Floats, chances: Floats) -> float:
    """Each pair counts with the chance that its first row leaves and its second stays; no row pairs with itself."""
    order = np.argsort(scores, kind="stable")
    leaves, stays = chances[order], 1.0 - chances[order]
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) > 0])
    tied_leaves, tied_stays = np.add.reduceat(leaves, starts), np.add.reduceat(stays, starts)
    own = np.add.reduceat(leaves * stays, starts)
    below = np.cumsum(tied_stays) - tied_stays
    right = float((tied_leaves * below).sum()) + 0.5 * float((tied_leaves * tied_stays - own).sum())
    return right / (float(leaves.sum()) * float(stays.sum()) - float(own.sum()))


def _expected_decisions(flagged: Flags, chances: Floats, decision: Decision | None) -> dict[str, float]:
    caught, leavers, contacted = float(chances[flagged].sum()), float(chances.sum()), int(flagged.sum())
    values = {"recall": caught / leavers, "f1": 2 * caught / (contacted + leavers)}
    if contacted:
        values["precision"] = caught / contacted
    if decision is not None:
        values["profit"] = decision.profit(caught, contacted - caught)
    return values


def _figures_of_draws(scores: Floats, flagged: Flags, draws: Flags, decision: Decision | None) -> dict[str, Floats]:
    """Realised figures for each row of drawn labels, shape (draws, rows)."""
    ranks = _mid_ranks(scores)
    leavers = draws.sum(axis=1).astype(np.float64)
    stayers = draws.shape[1] - leavers
    caught, contacted = (draws & flagged).sum(axis=1).astype(np.float64), float(flagged.sum())
    clipped = np.clip(scores, 1e-15, 1 - 1e-15)
    base = float(np.log(1 - clipped).sum())
    with np.errstate(divide="ignore", invalid="ignore"):
        values = {
            "auc": (draws @ ranks - leavers * (leavers + 1) / 2) / (leavers * stayers),
            "log_loss": -(base + draws @ (np.log(clipped) - np.log(1 - clipped))) / draws.shape[1],
            "recall": caught / leavers,
            "f1": 2 * caught / (contacted + leavers),
            "churn_rate": leavers / draws.shape[1],
            "precision": caught / contacted,
        }
    if decision is not None:
        values["profit"] = caught * decision.success_rate * decision.kept_value - decision.offer_cost * contacted
    return values


def _mean(values: Floats) -> Figure:
    value, error = float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values))
    return Figure(value, value - Z95 * error, value + Z95 * error)


def _share(hits: int, rows: int) -> Figure:
    """Wilson's interval (Journal of the American Statistical Association 22, 1927)."""
    share, weight = hits / rows, Z95**2 / rows
    centre = (share + weight / 2) / (1 + weight)
    reach = Z95 * math.sqrt(share * (1 - share) / rows + weight / (4 * rows)) / (1 + weight)
    return Figure(share, max(0.0, centre - reach), min(1.0, centre + reach))


def _alone(value: float) -> Figure:
    return Figure(value, value, value)


def _profit(flagged: Flags, churned: Flags, decision: Decision) -> Figure:
    values = np.where(flagged, np.where(churned, decision.profit(1, 0), decision.profit(0, 1)), 0.0)
    mean = _mean(values)
    return Figure(mean.value * len(values), mean.low * len(values), mean.high * len(values))
