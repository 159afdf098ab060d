"""Says while a trial is being fitted whether it may go on: it is hopeless, or its time is up."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from churn.errors import ChurnwatchError

HOPELESS_SHARE = 0.03
"""A trial is stopped when it gives away more than this share of what the best one gains over the base rate, after two
folds of five: on the shipped use cases three standard errors of the difference."""


class Pruned(Exception):  # not an error: what a search does with a hopeless trial
    """The folds so far are worse than the best trial's on the same rows, beyond what the rest could mend."""

    def __init__(self, fold_losses: Sequence[float], expected_loss: float, folds: int) -> None:
        super().__init__(f"log loss {np.mean(fold_losses):.4f} after {len(fold_losses)} of {folds} folds")
        self.fold_losses = tuple(fold_losses)
        self.expected_loss = expected_loss


class TrialTimedOut(ChurnwatchError):
    """A trial that took longer than it may."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"not done after {seconds:g} s; raise TRIAL_TIMEOUT_SECONDS if it should be")


class Referee(Protocol):
    """Asked by families: between rounds, and after each fold."""

    def between_rounds(self) -> None: ...

    def after_folds(self, fold_losses: Sequence[float]) -> None: ...


@dataclass(frozen=True, slots=True)
class Bar:
    """What a trial is measured against: the best trial's held-out log loss on each fold."""

    fold_losses: tuple[float, ...]
    base_rate_loss: float

    def judge(self, fold_losses: Sequence[float]) -> None:
        """Raises Pruned, with the loss to expect of all folds, when what is done so far is hopeless."""
        done = len(fold_losses)
        if done >= len(self.fold_losses):
            return
        behind = float(np.mean(fold_losses) - np.mean(self.fold_losses[:done]))
        whole = float(np.mean(self.fold_losses))
        if behind > _allowed_share(done, len(self.fold_losses)) * max(self.base_rate_loss - whole, 0.0):
            raise Pruned(fold_losses, whole + behind, len(self.fold_losses))


def _allowed_share(done: int, folds: int) -> float:
    """By how much a mean over `done` of the folds misses that over all of them falls as they become more: the standard
    error of a sample without replacement, the square root of (1 / done - 1 / folds)."""
    return HOPELESS_SHARE * math.sqrt((1 / done - 1 / folds) / (1 / 2 - 1 / 5))


class Patient:
    """Lets every trial go on."""

    def between_rounds(self) -> None:
        """As long as it likes."""

    def after_folds(self, fold_losses: Sequence[float]) -> None:
        """However bad."""


PATIENT = Patient()


class Strict:
    """Ends a trial that is below the bar, where there is one, or out of time."""

    def __init__(self, bar: Bar | None, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._bar, self._seconds, self._clock = bar, seconds, clock
        self._deadline = clock() + seconds

    def between_rounds(self) -> None:
        if self._clock() > self._deadline:
            raise TrialTimedOut(self._seconds)

    def after_folds(self, fold_losses: Sequence[float]) -> None:
        self.between_rounds()
        if self._bar is not None:
            self._bar.judge(fold_losses)
