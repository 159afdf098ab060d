"""Families of models: what to search for each, and how to fit it. One small class a family.

A space is given in words of our own (Dimension); search.py alone speaks hyperopt. xgboost has two homes: this file
(fit) and churn/model.py (load, score, explain).
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import xgboost
from numpy.typing import NDArray

from churn.model import Matrix, Model, XGBoostModel
from churn.split import Positions

Labels = NDArray[np.bool_]
LogOdds = NDArray[np.float64]
Parameters = Mapping[str, Any]
Folds = list[tuple[Positions, Positions]]
"""(fit, held out) row positions; every row is held out once."""


@dataclass(frozen=True, slots=True)
class Dimension:
    """One hyperparameter: drawn uniformly, uniformly in its logarithm, or as a whole number, bounds included."""

    kind: Literal["uniform", "log_uniform", "integer"]
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class CrossValidated:
    """`log_odds` of every training row from the fold's model that had not seen it; `rounds` is the size to fit finally.

    `unseen_log_odds` are those of the rows outside training, from every fold's model: shape (folds * rows,).
    """

    log_odds: LogOdds
    unseen_log_odds: LogOdds
    rounds: int


class Family(Protocol):
    """A kind of model that can be tuned."""

    name: str
    space: Mapping[str, Dimension]

    def cross_validate(
        self, parameters: Parameters, matrix: Matrix, labels: Labels, folds: Folds, unseen: Matrix, seed: int
    ) -> CrossValidated: ...

    def fit(self, parameters: Parameters, matrix: Matrix, labels: Labels, rounds: int, seed: int) -> Model: ...


class XGBoostFamily:
    """Gradient-boosted trees; each fold stops early, the final fit takes the mean of their best sizes.

    Folds are fitted side by side with one thread each: on a busy machine that is several times faster than two
    threads within one fit, which wait for each other at every level of every tree.
    """

    name = "xgboost"
    space: Mapping[str, Dimension] = {
        "eta": Dimension("log_uniform", 0.04, 0.3),
        "max_depth": Dimension("integer", 2, 7),
        "min_child_weight": Dimension("log_uniform", 0.5, 20.0),
        "subsample": Dimension("uniform", 0.6, 1.0),
        "colsample_bytree": Dimension("uniform", 0.4, 1.0),
        "reg_lambda": Dimension("log_uniform", 0.1, 20.0),
    }
    most_rounds = 1_500
    patience_rounds = 25

    def __init__(self, threads: int = 2) -> None:
        self._workers = threads

    def cross_validate(
        self, parameters: Parameters, matrix: Matrix, labels: Labels, folds: Folds, unseen: Matrix, seed: int
    ) -> CrossValidated:
        settings = self._settings(parameters, seed)
        with ThreadPoolExecutor(self._workers) as pool:
            boosters = list(pool.map(lambda fold: self._fit_early(settings, matrix, labels, *fold), folds))
        # One size for all folds: scores at each fold's own best would flatter, since it was chosen on those rows.
        rounds = max(1, round(float(np.mean([booster.best_iteration + 1 for booster in boosters]))))
        log_odds = np.empty(len(labels), dtype=np.float64)
        for booster, (_, held_out) in zip(boosters, folds, strict=True):
            log_odds[held_out] = _margins(booster, matrix[held_out], rounds)
        return CrossValidated(
            log_odds, np.concatenate([_margins(booster, unseen, rounds) for booster in boosters]), rounds
        )

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


def _margins(booster: xgboost.Booster, matrix: Matrix, rounds: int) -> LogOdds:
    first = (0, min(rounds, booster.num_boosted_rounds()))
    rows = xgboost.DMatrix(matrix, nthread=1)
    return np.asarray(booster.predict(rows, output_margin=True, iteration_range=first), np.float64)


def make_folds(labels: Labels, folds: int, seed: int) -> Folds:
    """Stratified: each fold holds its share of both classes, to within one row."""
    random = np.random.default_rng(seed)
    fold_of_row = np.empty(len(labels), dtype=int)
    for of_class in (True, False):
        rows = random.permutation(np.flatnonzero(labels == of_class))
        fold_of_row[rows] = np.arange(len(rows)) % folds
    return [(np.flatnonzero(fold_of_row != fold), np.flatnonzero(fold_of_row == fold)) for fold in range(folds)]


FAMILIES: dict[str, type[XGBoostFamily]] = {XGBoostFamily.name: XGBoostFamily}
