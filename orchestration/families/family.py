"""What a kind of model must offer to be tuned, in words of our own; search.py alone speaks hyperopt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from churn.model import Matrix, Model
from churn.split import Positions

Labels = NDArray[np.bool_]
LogOdds = NDArray[np.float64]
Parameters = Mapping[str, Any]
Folds = list[tuple[Positions, Positions]]
"""(fit, held out) row positions; every row is held out once."""
Fitted = TypeVar("Fitted")


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
    """A kind of model that can be tuned. `start` is a sound point of its space, tried before the search knows any."""

    name: str
    space: Mapping[str, Dimension]
    start: Mapping[str, float]

    def cross_validate(
        self, parameters: Parameters, matrix: Matrix, labels: Labels, folds: Folds, unseen: Matrix, seed: int
    ) -> CrossValidated: ...

    def fit(self, parameters: Parameters, matrix: Matrix, labels: Labels, rounds: int, seed: int) -> Model: ...


def fit_folds(fit: Callable[[Positions, Positions], Fitted], folds: Folds, workers: int) -> list[Fitted]:
    """Fit folds side by side with one thread each: on a busy machine that is several times faster than threads within
    one fit, which wait for each other at every level of every tree."""
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(lambda fold: fit(*fold), folds))


def gather_folds(
    models: Sequence[Callable[[Matrix], LogOdds]], matrix: Matrix, folds: Folds, unseen: Matrix, rounds: int
) -> CrossValidated:
    """Each row's log-odds from the fold's model that did not see it; the unseen rows' from all."""
    log_odds = np.empty(len(matrix), dtype=np.float64)
    for score, (_, held_out) in zip(models, folds, strict=True):
        log_odds[held_out] = score(matrix[held_out])
    return CrossValidated(log_odds, np.concatenate([score(unseen) for score in models]), rounds)


def make_folds(labels: Labels, folds: int, seed: int) -> Folds:
    """Stratified: each fold holds its share of both classes, to within one row."""
    random = np.random.default_rng(seed)
    fold_of_row = np.empty(len(labels), dtype=int)
    for of_class in (True, False):
        rows = random.permutation(np.flatnonzero(labels == of_class))
        fold_of_row[rows] = np.arange(len(rows)) % folds
    return [(np.flatnonzero(fold_of_row != fold), np.flatnonzero(fold_of_row == fold)) for fold in range(folds)]
