"""A logistic regression as plain numbers: standardised columns, missing ones at their mean, one weight each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class Linear:
    """log-odds = intercept + sum of weight * (value - mean) / scale, a missing value counting as its mean."""

    mean: Floats
    scale: Floats
    weight: Floats
    intercept: float

    def scores(self, matrix: Matrix) -> Floats:
        """Log-odds, shape (rows,)."""
        return np.asarray(self._terms(matrix).sum(axis=1) + self.intercept)

    def contributions(self, matrix: Matrix) -> Floats:
        """Each column's part, shape (rows, width + 1); exact Shapley values where columns are independent. The last
        is the log-odds of a customer who is average in everything."""
        terms = self._terms(matrix)
        return np.concatenate([terms, np.full((len(terms), 1), self.intercept)], axis=1)

    def save(self, path: Path) -> None:
        """Write it as JSON, which keeps every bit."""
        document = {name: getattr(self, name).tolist() for name in ("mean", "scale", "weight")}
        path.write_text(json.dumps({**document, "intercept": self.intercept}), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Linear:
        """Raises ValueError or KeyError for anything but such a file."""
        document = json.loads(path.read_bytes())
        mean, scale, weight = (np.array(document[name], dtype=np.float64) for name in ("mean", "scale", "weight"))
        if not (mean.shape == scale.shape == weight.shape) or mean.ndim != 1 or not np.all(scale > 0):
            raise ValueError(f"{path.name} holds no linear model: its lists do not fit each other")
        return cls(mean, scale, weight, float(document["intercept"]))

    def _terms(self, matrix: Matrix) -> Floats:
        if matrix.ndim != 2 or matrix.shape[1] != len(self.mean):
            raise ValueError(f"rows of shape {matrix.shape}: expected (rows, {len(self.mean)})")
        terms = (matrix.astype(np.float64) - self.mean) / self.scale * self.weight
        return np.where(np.isnan(matrix), 0.0, terms)
