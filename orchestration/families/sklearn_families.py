"""scikit-learn's families: a random forest, a single tree, a logistic regression. What is served are plain numbers.

A leaf of a tree often holds customers of one kind only, and a probability of 0 or 1 that a handful of rows cannot
know. So each leaf is drawn towards the base rate as if `smoothing` more rows had fallen into it (the m-estimate; F.
Provost and P. Domingos, "Tree induction for probability-based ranking", 2003).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from churn.linear import Linear
from churn.model import DecisionTreeModel, ForestModel, LogisticModel, Matrix, Model
from churn.trees import LEAF, TreeEnsemble
from orchestration.evaluation import log_loss_of_log_odds
from orchestration.families.family import (
    CrossValidated,
    Dimension,
    FoldedRows,
    Labels,
    Parameters,
    fit_folds,
    gather_folds,
)
from orchestration.referee import PATIENT, Referee


class _OneSize:
    """Families without rounds: each fold is fitted as the whole is."""

    def __init__(self, threads: int = 2) -> None:
        self._threads = threads

    def cross_validate(
        self, parameters: Parameters, rows: FoldedRows, unseen: Matrix, seed: int, referee: Referee = PATIENT
    ) -> CrossValidated:
        def fit(fold: int) -> tuple[Model, float]:
            learned, held_out = rows.folds[fold]
            model = self.fit(parameters, rows.matrix[learned], rows.labels[learned], 1, seed, referee)
            return model, log_loss_of_log_odds(model.log_odds(rows.matrix[held_out]), rows.labels[held_out])

        models, losses = fit_folds(fit, len(rows.folds), self._threads, referee)
        return gather_folds([model.log_odds for model in models], rows, unseen, 1, losses)

    def fit(
        self, parameters: Parameters, matrix: Matrix, labels: Labels, rounds: int, seed: int, referee: Referee = PATIENT
    ) -> Model:
        raise NotImplementedError


class RandomForestFamily(_OneSize):
    """Many deep trees on drawn rows and columns."""

    name = "random_forest"
    space: Mapping[str, Dimension] = {
        "n_estimators": Dimension("integer", 40, 150),
        "max_depth": Dimension("integer", 6, 16),
        "min_samples_leaf": Dimension("integer", 1, 20),
        "max_features": Dimension("uniform", 0.15, 0.5),
        "smoothing": Dimension("log_uniform", 0.1, 10.0),
    }
    start: Mapping[str, float] = {
        "n_estimators": 80,
        "max_depth": 14,
        "min_samples_leaf": 2,
        "max_features": 0.35,
        "smoothing": 0.5,
    }

    def fit(
        self, parameters: Parameters, matrix: Matrix, labels: Labels, rounds: int, seed: int, referee: Referee = PATIENT
    ) -> Model:
        settings, smoothing = _split_off_smoothing(parameters)
        forest = RandomForestClassifier(**settings, random_state=seed, n_jobs=1).fit(matrix, labels)
        return ForestModel(_as_trees(forest.estimators_, matrix.shape[1], smoothing, float(labels.mean())))


class DecisionTreeFamily(_OneSize):
    """One tree that can be read."""

    name = "decision_tree"
    space: Mapping[str, Dimension] = {
        "max_depth": Dimension("integer", 3, 12),
        "min_samples_leaf": Dimension("integer", 5, 100),
        "min_impurity_decrease": Dimension("log_uniform", 1e-6, 1e-3),
        "smoothing": Dimension("log_uniform", 0.5, 20.0),
    }
    start: Mapping[str, float] = {
        "max_depth": 7,
        "min_samples_leaf": 20,
        "min_impurity_decrease": 1e-5,
        "smoothing": 2.0,
    }

    def fit(
        self, parameters: Parameters, matrix: Matrix, labels: Labels, rounds: int, seed: int, referee: Referee = PATIENT
    ) -> Model:
        settings, smoothing = _split_off_smoothing(parameters)
        tree = DecisionTreeClassifier(**settings, random_state=seed).fit(matrix, labels)
        return DecisionTreeModel(_as_trees([tree], matrix.shape[1], smoothing, float(labels.mean())))


class LogisticFamily(_OneSize):
    """A logistic regression on standardised columns, a missing value at its column's mean."""

    name = "logistic"
    space: Mapping[str, Dimension] = {"C": Dimension("log_uniform", 1e-3, 1e2)}
    start: Mapping[str, float] = {"C": 0.3}

    def fit(
        self, parameters: Parameters, matrix: Matrix, labels: Labels, rounds: int, seed: int, referee: Referee = PATIENT
    ) -> Model:
        return LogisticModel(linear_of(fit_pipeline(parameters, matrix, labels)))


class SklearnTree(Protocol):
    """A fitted tree of scikit-learn."""

    tree_: Any


def fit_pipeline(parameters: Parameters, matrix: Matrix, labels: Labels) -> Any:
    """(imputer, scaler, regression), fitted; in float64, whose sums do not depend on the order of rows so much."""
    imputer = SimpleImputer(strategy="mean", keep_empty_features=True)
    regression = LogisticRegression(**parameters, max_iter=2_000)
    return make_pipeline(imputer, StandardScaler(), regression).fit(matrix.astype(np.float64), labels)


def linear_of(pipeline: Any) -> Linear:
    """The plain numbers of a fitted pipeline. The mean of imputed columns is the mean that was imputed."""
    imputer, scaler, regression = (step for _, step in pipeline.steps)
    return Linear(imputer.statistics_, scaler.scale_, regression.coef_[0], float(regression.intercept_[0]))


def _as_trees(estimators: Sequence[SklearnTree], width: int, smoothing: float, base_rate: float) -> TreeEnsemble:
    trees = [estimator.tree_ for estimator in estimators]
    starts = np.cumsum([0, *(tree.node_count for tree in trees)])[:-1]
    cover = np.concatenate([tree.weighted_n_node_samples for tree in trees])
    share = np.concatenate([_share_of_leavers(estimator) for estimator in estimators])
    smoothed = (share * cover + smoothing * base_rate) / (cover + smoothing)
    return TreeEnsemble(
        width=width,
        roots=starts.astype(np.int32),
        feature=np.concatenate([np.maximum(tree.feature, 0) for tree in trees]).astype(np.int32),
        threshold=np.concatenate([tree.threshold for tree in trees]),
        left=_moved([tree.children_left for tree in trees], starts),
        right=_moved([tree.children_right for tree in trees], starts),
        missing_left=np.concatenate([tree.missing_go_to_left for tree in trees]).astype(bool),
        value=smoothed / len(trees),
        cover=cover,
    )


def _share_of_leavers(estimator: Any) -> Any:
    """Of each node; a forest's trees know the classes by number."""
    return estimator.tree_.value[:, 0, -1] if len(estimator.classes_) == 2 else _only(estimator)


def _only(estimator: Any) -> Any:
    """Of a tree whose drawn rows are of one class."""
    return np.full(estimator.tree_.node_count, float(estimator.classes_[0]))


def _moved(children: Sequence[Any], starts: Any) -> Any:
    parts = [np.where(nodes < 0, LEAF, nodes + start) for nodes, start in zip(children, starts, strict=True)]
    return np.concatenate(parts).astype(np.int32)


def _split_off_smoothing(parameters: Parameters) -> tuple[dict[str, Any], float]:
    settings = dict(parameters)
    return settings, float(settings.pop("smoothing"))
