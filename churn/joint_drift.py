"""What no column shows by itself: do features go together as they did? A domain classifier tells.

Trees learn to tell reference rows from window rows on one half of both; on the other half their scores are compared by
the rank-sum test. Where nothing changed, those scores say nothing about which side a row is from, whatever the trees
have learnt, so the chance is right at any size. Beside churn/xgboost_native.py and orchestration/families.py a home
of XGBoost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from churn.performance import auc
from churn.two_sample import rank_sum

if TYPE_CHECKING:
    import xgboost

Matrix = NDArray[np.float32]

THRESHOLD = 0.001
"""One look an hour is then wrong once in six weeks, without waiting for a second one."""
SMALLEST_ROWS = 200
"""With fewer rows a half is too small to learn from."""
NAMED_COLUMNS = 3
ROUNDS, DEPTH, LEARNING_RATE = 60, 4, 0.15


@dataclass(frozen=True, slots=True)
class JointVerdict:
    """`auc` is how well the sides can be told apart on unseen rows, 0.5 being not at all. `columns` are the encoded
    columns that helped most, when drifted. `reason` says why there was no test, with a p-value of 1."""

    auc: float
    p_value: float
    threshold: float
    rows: int
    drifted: bool
    columns: tuple[str, ...] = ()
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values for the store."""
        return asdict(self) | {"columns": list(self.columns)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> JointVerdict:
        """The inverse of `to_json`."""
        return cls(**{**document, "columns": tuple(document["columns"])})


def find_joint_drift(
    reference: Matrix, window: Matrix, columns: Sequence[str], seed: int = 0, threshold: float = THRESHOLD
) -> JointVerdict:
    """Compare encoded rows, NaN where missing; `columns` names the matrices' columns. Takes about half a second."""
    if len(window) < SMALLEST_ROWS or len(reference) < SMALLEST_ROWS:
        reason = f"{len(window)} rows, at least {SMALLEST_ROWS} are needed"
        return JointVerdict(0.5, 1.0, threshold, len(window), False, reason=reason)
    random = np.random.default_rng(seed)
    rows = np.concatenate([reference, window])
    is_window = np.repeat([False, True], [len(reference), len(window)])
    learn = np.zeros(len(rows), bool)
    for side in (~is_window, is_window):
        members = np.flatnonzero(side)
        learn[random.permutation(members)[: len(members) // 2]] = True
    trees = _fit(rows[learn], is_window[learn], seed)
    scores = trees.inplace_predict(rows[~learn])
    truth = is_window[~learn]
    order = np.unique(scores, return_inverse=True)[1]
    counts = [np.bincount(order[side], minlength=order.max() + 1) for side in (~truth, truth)]
    found = rank_sum(counts[0], counts[1])
    p_value = found.p_value / 2 if found.statistic > 0 else 1.0 - found.p_value / 2  # only better than chance counts
    drifted = p_value <= threshold
    named = _most_useful(trees, columns) if drifted else ()
    return JointVerdict(auc(scores.astype(np.float64), truth), p_value, threshold, len(window), drifted, named)


def _fit(rows: Matrix, is_window: NDArray[np.bool_], seed: int) -> xgboost.Booster:
    import xgboost  # a second or two, once

    options = {
        "objective": "binary:logistic",
        "max_depth": DEPTH,
        "eta": LEARNING_RATE,
        "subsample": 0.8,
        "colsample_bytree": 0.8,
        "seed": seed,
        "nthread": 1,
        "scale_pos_weight": float((~is_window).sum() / is_window.sum()),
    }
    return xgboost.train(options, xgboost.DMatrix(rows, is_window), ROUNDS)


def _most_useful(trees: xgboost.Booster, columns: Sequence[str]) -> tuple[str, ...]:
    gains = trees.get_score(importance_type="total_gain")
    best = sorted(gains, key=lambda name: -float(gains[name]))[:NAMED_COLUMNS]
    return tuple(columns[int(name.removeprefix("f"))] for name in best)
