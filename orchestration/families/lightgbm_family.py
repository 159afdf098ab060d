"""LightGBM's home for fitting; churn/lightgbm_text.py reads the file it writes, which is all that serving needs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import lightgbm
import numpy as np

from churn.model import LightGBMModel, Matrix, Model
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


class LightGBMFamily:
    """Gradient-boosted trees grown leaf by leaf; sized as XGBoost's are."""

    name = "lightgbm"
    space: Mapping[str, Dimension] = {
        "learning_rate": Dimension("log_uniform", 0.04, 0.3),
        "num_leaves": Dimension("integer", 4, 63),
        "min_data_in_leaf": Dimension("integer", 5, 60),
        "bagging_fraction": Dimension("uniform", 0.6, 1.0),
        "feature_fraction": Dimension("uniform", 0.4, 1.0),
        "lambda_l2": Dimension("log_uniform", 0.1, 20.0),
    }
    start: Mapping[str, float] = {
        "learning_rate": 0.1,
        "num_leaves": 15,
        "min_data_in_leaf": 20,
        "bagging_fraction": 0.8,
        "feature_fraction": 0.7,
        "lambda_l2": 1.0,
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
        rounds = max(1, round(float(np.mean([booster.best_iteration for booster in boosters]))))
        scores = [partial(_log_odds, booster, rounds) for booster in boosters]
        return gather_folds(scores, matrix, folds, unseen, rounds)

    def fit(self, parameters: Parameters, matrix: Matrix, labels: Labels, rounds: int, seed: int) -> Model:
        settings = self._settings(parameters, seed)
        return LightGBMModel(lightgbm.train(settings, _dataset(settings, matrix, labels), rounds).model_to_string())

    def _fit_early(
        self, settings: Parameters, matrix: Matrix, labels: Labels, rows: Positions, held_out: Positions
    ) -> lightgbm.Booster:
        data = _dataset(settings, matrix[rows], labels[rows])
        return lightgbm.train(
            dict(settings),
            data,
            self.most_rounds,
            valid_sets=[data.create_valid(matrix[held_out], labels[held_out])],
            callbacks=[lightgbm.early_stopping(self.patience_rounds, verbose=False)],
        )

    def _settings(self, parameters: Parameters, seed: int) -> dict[str, Any]:
        return {
            **parameters,
            "objective": "binary",
            "metric": "binary_logloss",
            "bagging_freq": 1,
            "num_threads": 1,
            "seed": seed,
            "deterministic": True,
            "force_row_wise": True,
            "feature_pre_filter": False,
            "verbosity": -1,
        }


def _dataset(settings: Parameters, matrix: Matrix, labels: Labels) -> lightgbm.Dataset:
    return lightgbm.Dataset(matrix, labels.astype(np.float64), params=dict(settings))


def _log_odds(booster: lightgbm.Booster, rounds: int, matrix: Matrix) -> LogOdds:
    return np.asarray(booster.predict(matrix, raw_score=True, num_iteration=rounds), np.float64)
