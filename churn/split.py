"""Which rows a model learns from, is tuned on and is judged by: one fixed, stratified rule for every room."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from churn.errors import DataError

TRAIN_SHARE = 0.6
VALIDATION_SHARE = 0.2
FEWEST_OF_A_CLASS = 5
"""With fewer, some part would hold none of that class."""

Positions = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Split:
    """Row positions (for `frame.iloc`), shuffled, of three parts that share no row and leave none out."""

    train: Positions
    validation: Positions
    test: Positions

    @property
    def unseen(self) -> Positions:
        """The rows that no model was fitted on: validation, then test."""
        return np.concatenate([self.validation, self.test])


def split(frame: Any, seed: int) -> Split:
    """60/20/20 by a frame's `churned` column; the same rows in the same order give the same split.

    Raises DataError when a class has too few rows to stand in every part.
    """
    churned = frame["churned"].to_numpy(dtype=bool)
    random = np.random.default_rng(seed)
    parts: tuple[list[Positions], ...] = ([], [], [])
    for of_class in (True, False):
        positions = random.permutation(np.flatnonzero(churned == of_class))
        if len(positions) < FEWEST_OF_A_CLASS:
            kind = "churned" if of_class else "stayed"
            raise DataError(
                f"{len(positions)} of {len(churned)} customers {kind}: expected {FEWEST_OF_A_CLASS} or more of each "
                "class; ingest more data"
            )
        ends = np.round(len(positions) * np.array([TRAIN_SHARE, TRAIN_SHARE + VALIDATION_SHARE])).astype(int)
        for part, rows in zip(parts, np.split(positions, ends), strict=True):
            part.append(rows)
    return Split(*(random.permutation(np.concatenate(part)) for part in parts))
