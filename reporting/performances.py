"""The model's performance on a window, by the watch's own functions: estimated at once, realised as labels come."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from churn.bundle import Bundle
from churn.contract import Decision
from churn.performance import Performance, estimated, realised, recalibrate
from churn.prediction import Label, Prediction
from reporting.tally import Tally


def realised_of(
    pairs: Iterable[tuple[Prediction, Label]], window_rows: int, decision: Decision | None
) -> Performance | None:
    """The figures of the labelled predictions, or the reason why there are none; None without any label."""
    rows = [(prediction.churn_probability, prediction.churn, label.churned) for prediction, label in pairs]
    if not rows:
        return None
    scores, flagged, churned = (np.array(column) for column in zip(*rows, strict=True))
    return realised(np.nan_to_num(scores), flagged, churned, window_rows, decision)


def estimated_of(bundle: Bundle, tally: Tally, seed: int) -> Performance | None:
    """What to expect before labels come; None when the reference holds no labels of both kinds to learn from."""
    reference = bundle.reference()
    if "churned" not in reference or reference["churned"].nunique() < 2:
        return None
    chances = recalibrate(
        reference["churn_probability"].to_numpy(dtype=np.float64), reference["churned"].to_numpy(dtype=bool)
    )
    return estimated(tally.scores(), tally.flags(), chances, bundle.contract.decision, seed)
