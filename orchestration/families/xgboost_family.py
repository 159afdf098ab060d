"""XGBoost's home for fitting; churn/xgboost_native.py loads, scores and explains."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import xgboost

from churn.model import Matrix, Model, XGBoostModel
from churn.split import Positions
from orchestration.families.family import (
    CrossValidated,
    Dimension,
    Folds,
    Labels,
    LogOdds,
    Parameters,
    fit_folds,
    gather_folds,
)


class XGBoostFamily:
    """Gradient-boosted trees; each fold stops early, the final fit takes the mean of their best sizes."""

    name = "xgboost"
    space: Mapping[str, Dimension] = {
        "eta": Dimension("log_uniform", 0.04, 0.3),
        "max_depth": Dimension("integer", 2, 7),
        "min_child_weight": Dimension("log_uniform", 0.5, 20.0),
        "subsample": Dimension("uniform", 0.6, 1.0),
        "colsample_bytree": Dimension("uniform", 0.4, 1.0),
        "reg_lambda": Dimension("log_uniform", 0.1, 20.0),
    }
    start: Mapping[str, float] = {
        "eta": 0.1,
        "max_depth": 4,
        "min_child_weight": 2.0,
        "subsample": 0.8,
        "colsample_bytree": 0.7,
        "reg_lambda": 1.0,
    }
    most_rounds = 1_500
    patience_rounds = 25

    def __init__(self, threads: int = 2) -> None:
        self._workers = threads

    def cross_validate(
        self, parameters: Parameters, matrix: Matrix, labels: Labels, folds: Folds, unseen: Matrix, seed: int
    ) -> CrossValidated:
        settings = self._settings(parameters, seed)
        boosters = fit_folds(partial(self._fit_early, settings, matrix, labels), folds, self._workers)
        # One size for all folds: scores at each fold's own best would flatter, since it was chosen on those rows.
        rounds = max(1, round(float(np.mean([booster.best_iteration + 1 for booster in boosters]))))
        scores = [partial(_margins, booster, rounds) for booster in boosters]
        return gather_folds(scores, matrix, folds, unseen, rounds)

    def fit(self, parameters: Parameters, matrix: Matrix, labels: Labels, rounds: int, seed: int) -> Model:
        data = xgboost.DMatrix(matrix, labels, nthread=1)
        return XGBoostModel(xgboost.train(self._settings(parameters, seed), data, num_boost_round=rounds))

    def _fit_early(
        self, settings: Parameters, matrix: Matrix, labels: Labels, rows: Positions, held_out: Positions
    ) -> xgboost.Booster:
        return xgboost.train(
            settings,
            xgboost.DMatrix(matrix[rows], labels[rows], nthread=1),
            num_boost_round=self.most_rounds,
            evals=[(xgboost.DMatrix(matrix[held_out], labels[held_out], nthread=1), "held_out")],
            early_stopping_rounds=self.patience_rounds,
            verbose_eval=False,
        )

    def _settings(self, parameters: Parameters, seed: int) -> dict[str, Any]:
        return {
            **parameters,
            "objective": "binary:logistic",
            "eval_metric": "logloss",
            "tree_method": "hist",
            "nthread": 1,
            "seed": seed,
        }


def _margins(booster: xgboost.Booster, rounds: int, matrix: Matrix) -> LogOdds:
    first = (0, min(rounds, booster.num_boosted_rounds()))
    rows = xgboost.DMatrix(matrix, nthread=1)
    return np.asarray(booster.predict(rows, output_margin=True, iteration_range=first), np.float64)
