"""XGBoost's home for fitting; churn/xgboost_native.py loads, scores and explains."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import xgboost

from churn.model import Matrix, Model, XGBoostModel
from orchestration.families.family import (
    CrossValidated,
    Dimension,
    FoldedRows,
    Labels,
    LogOdds,
    Parameters,
    fit_folds,
    gather_folds,
)
from orchestration.referee import PATIENT, Referee


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
        self._threads = threads

    def cross_validate(
        self, parameters: Parameters, rows: FoldedRows, unseen: Matrix, seed: int, referee: Referee = PATIENT
    ) -> CrossValidated:
        fit = partial(self._fit_early, self._settings(parameters, seed), rows, referee)
        boosters, losses = fit_folds(fit, len(rows.folds), self._threads, referee)
        # One size for all folds: scores at each fold's own best would flatter, since it was chosen on those rows.
        rounds = max(1, round(float(np.mean([booster.best_iteration + 1 for booster in boosters]))))
        return gather_folds([partial(_margins, booster, rounds) for booster in boosters], rows, unseen, rounds, losses)

    def fit(
        self, parameters: Parameters, matrix: Matrix, labels: Labels, rounds: int, seed: int, referee: Referee = PATIENT
    ) -> Model:
        data, settings = xgboost.QuantileDMatrix(matrix, labels, nthread=1), self._settings(parameters, seed)
        return XGBoostModel(
            xgboost.train(settings, data, num_boost_round=rounds, callbacks=[_AskBetweenRounds(referee)])
        )

    def _fit_early(
        self, settings: Parameters, rows: FoldedRows, referee: Referee, fold: int
    ) -> tuple[xgboost.Booster, float]:
        learned, held_out = rows.made("xgboost", fold, partial(_fold_data, rows, fold))
        booster = xgboost.train(
            settings,
            learned,
            num_boost_round=self.most_rounds,
            evals=[(held_out, "held_out")],
            early_stopping_rounds=self.patience_rounds,
            callbacks=[_AskBetweenRounds(referee)],
            verbose_eval=False,
        )
        return booster, float(booster.best_score)

    def _settings(self, parameters: Parameters, seed: int) -> dict[str, Any]:
        return {
            **parameters,
            "objective": "binary:logistic",
            "eval_metric": "logloss",
            "tree_method": "hist",
            "nthread": 1,
            "seed": seed,
        }


class _AskBetweenRounds(xgboost.callback.TrainingCallback):  # type: ignore[misc]  # its types are not followed
    def __init__(self, referee: Referee) -> None:
        super().__init__()
        self._referee = referee

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        self._referee.between_rounds()
        return False


def _fold_data(rows: FoldedRows, fold: int) -> tuple[xgboost.DMatrix, xgboost.DMatrix]:
    """Binned once: half of a short fit's time would go into it."""
    fit, held_out = rows.folds[fold]
    return (
        xgboost.QuantileDMatrix(rows.matrix[fit], rows.labels[fit], nthread=1),
        xgboost.DMatrix(rows.matrix[held_out], rows.labels[held_out], nthread=1),
    )


def _margins(booster: xgboost.Booster, rounds: int, matrix: Matrix) -> LogOdds:
    first = (0, min(rounds, booster.num_boosted_rounds()))
    rows = xgboost.DMatrix(matrix, nthread=1)
    return np.asarray(booster.predict(rows, output_margin=True, iteration_range=first), np.float64)
