"""LightGBM's home for fitting; churn/lightgbm_text.py reads the file it writes, which is all that serving needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import lightgbm
import numpy as np

from churn.model import LightGBMModel, Matrix, Model
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

BINNING = ("num_threads", "seed", "deterministic", "feature_pre_filter", "force_row_wise", "verbosity")


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
        self._threads = threads

    def cross_validate(
        self, parameters: Parameters, rows: FoldedRows, unseen: Matrix, seed: int, referee: Referee = PATIENT
    ) -> CrossValidated:
        fit = partial(self._fit_early, self._settings(parameters, seed), rows, referee)
        boosters, losses = fit_folds(fit, len(rows.folds), self._threads, referee)
        rounds = max(1, round(float(np.mean([booster.best_iteration for booster in boosters]))))
        return gather_folds([partial(_log_odds, booster, rounds) for booster in boosters], rows, unseen, rounds, losses)

    def fit(
        self, parameters: Parameters, matrix: Matrix, labels: Labels, rounds: int, seed: int, referee: Referee = PATIENT
    ) -> Model:
        settings = self._settings(parameters, seed)
        data = lightgbm.Dataset(matrix, labels.astype(np.float64), params=dict(settings))
        booster = lightgbm.train(settings, data, rounds, callbacks=[_ask_between_rounds(referee)])
        return LightGBMModel(booster.model_to_string())

    def _fit_early(
        self, settings: dict[str, Any], rows: FoldedRows, referee: Referee, fold: int
    ) -> tuple[lightgbm.Booster, float]:
        learned, held_out = rows.made("lightgbm", fold, partial(_fold_data, settings, rows, fold))
        booster = lightgbm.train(
            settings,
            learned,
            self.most_rounds,
            valid_sets=[held_out],
            callbacks=[
                _ask_between_rounds(referee),
                lightgbm.early_stopping(self.patience_rounds, verbose=False),
            ],
        )
        return booster, float(booster.best_score["valid_0"]["binary_logloss"])

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


def _ask_between_rounds(referee: Referee) -> Callable[[Any], None]:
    return lambda _: referee.between_rounds()


def _fold_data(settings: dict[str, Any], rows: FoldedRows, fold: int) -> tuple[lightgbm.Dataset, lightgbm.Dataset]:
    """Binned once, by settings that no trial changes; built here, since LightGBM would build it at its first use."""
    fit, held_out = rows.folds[fold]
    binning = {name: settings[name] for name in BINNING}
    learned = lightgbm.Dataset(rows.matrix[fit], rows.labels[fit].astype(np.float64), params=binning).construct()
    checked = learned.create_valid(rows.matrix[held_out], rows.labels[held_out].astype(np.float64), params=binning)
    return learned, checked.construct()


def _log_odds(booster: lightgbm.Booster, rounds: int, matrix: Matrix) -> LogOdds:
    return np.asarray(booster.predict(matrix, raw_score=True, num_iteration=rounds), np.float64)
