"""What a kind of model must offer to be tuned, in words of our own; search.py alone speaks hyperopt."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from churn.model import Matrix, Model
from churn.split import Positions
from orchestration.referee import PATIENT, Referee

Labels = NDArray[np.bool_]
LogOdds = NDArray[np.float64]
Parameters = Mapping[str, Any]
Folds = list[tuple[Positions, Positions]]
"""(fit, held out) row positions; every row is held out once."""
Fitted = TypeVar("Fitted")
Made = TypeVar("Made")


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
    `fold_losses` are the held-out log losses by which trials are compared while they run.
    """

    log_odds: LogOdds
    unseen_log_odds: LogOdds
    rounds: int
    fold_losses: tuple[float, ...]


class FoldedRows:
    """Training rows, their folds, and what a library makes of a fold: made once, shared by all trials."""

    def __init__(self, matrix: Matrix, labels: Labels, folds: Folds) -> None:
        self.matrix, self.labels, self.folds = matrix, labels, folds
        self._made: dict[tuple[str, int], Any] = {}
        self._lock = threading.Lock()

    def made(self, library: str, fold: int, make: Callable[[], Made]) -> Made:
        """What `make` gave the first time it was asked for. Two threads never make the same."""
        with self._lock:
            if (library, fold) not in self._made:
                self._made[library, fold] = make()
            return self._made[library, fold]  # type: ignore[no-any-return]


class Family(Protocol):
    """A kind of model that can be tuned. `start` is a sound point of its space, tried before the search knows any.

    `threads` folds are fitted side by side.
    """

    name: str
    space: Mapping[str, Dimension]
    start: Mapping[str, float]

    def __init__(self, threads: int = 2) -> None: ...

    def cross_validate(
        self, parameters: Parameters, rows: FoldedRows, unseen: Matrix, seed: int, referee: Referee = PATIENT
    ) -> CrossValidated: ...

    def fit(
        self, parameters: Parameters, matrix: Matrix, labels: Labels, rounds: int, seed: int, referee: Referee = PATIENT
    ) -> Model: ...


def fit_folds(
    fit: Callable[[int], tuple[Fitted, float]], folds: int, threads: int, referee: Referee
) -> tuple[list[Fitted], tuple[float, ...]]:
    """Fit folds side by side with one thread each, and ask the referee after each of them, in their order, so that
    its word does not depend on how many threads there are.

    On a busy machine that is several times faster than threads within one fit, which wait for each other at every
    level of every tree. `fit` gives a fold's model and its held-out log loss.
    """
    models: list[Fitted] = []
    losses: list[float] = []
    with ThreadPoolExecutor(threads) as pool:
        waiting = iter(range(folds))
        under_way = deque(pool.submit(fit, fold) for fold in islice(waiting, threads))
        while under_way:
            model, loss = under_way.popleft().result()
            models.append(model)
            losses.append(loss)
            referee.after_folds(losses)
            under_way.extend(pool.submit(fit, fold) for fold in islice(waiting, 1))
    return models, tuple(losses)


def gather_folds(
    models: Sequence[Callable[[Matrix], LogOdds]],
    rows: FoldedRows,
    unseen: Matrix,
    rounds: int,
    fold_losses: tuple[float, ...],
) -> CrossValidated:
    """Each row's log-odds from the fold's model that did not see it; the unseen rows' from all."""
    log_odds = np.empty(len(rows.matrix), dtype=np.float64)
    for score, (_, held_out) in zip(models, rows.folds, strict=True):
        log_odds[held_out] = score(rows.matrix[held_out])
    return CrossValidated(log_odds, np.concatenate([score(unseen) for score in models]), rounds, fold_losses)


def make_folds(labels: Labels, folds: int, seed: int) -> Folds:
    """Stratified: each fold holds its share of both classes, to within one row. No more folds than the rarer class
    has rows, so that none is without it."""
    folds = max(2, min(folds, int(labels.sum()), int((~labels).sum())))
    random = np.random.default_rng(seed)
    fold_of_row = np.empty(len(labels), dtype=int)
    for of_class in (True, False):
        rows = random.permutation(np.flatnonzero(labels == of_class))
        fold_of_row[rows] = np.arange(len(rows)) % folds
    return [(np.flatnonzero(fold_of_row != fold), np.flatnonzero(fold_of_row == fold)) for fold in range(folds)]
