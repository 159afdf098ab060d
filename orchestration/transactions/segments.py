"""Segments of customers: KMeans on the logarithms of recency, frequency and money, named in the contract's words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn import config_context
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score

from churn.transactions import SegmentName
from orchestration.transactions.measures import FREQUENCY, RECENCY, SPEND

Floats = NDArray[np.float64]
FEWEST = 3
"""Two would only tell much from little: recency, frequency and money go together, so they always score best."""
STARTS = 10
JUDGED_ROWS = 5_000
"""A silhouette looks at every pair of rows: beyond so many, at a sample."""
WORKING_MB = 16
"""It would hold a gigabyte of distances at once."""


@dataclass(frozen=True)
class Segments:
    """A fitted clustering: it also names customers that it was not fitted on. `silhouettes` are by number tried."""

    names: tuple[str, ...]
    centres: Floats
    mean: Floats
    deviation: Floats
    silhouettes: dict[int, float]

    @property
    def silhouette(self) -> float:
        return self.silhouettes[len(self.names)]

    def of(self, customers: pd.DataFrame) -> list[str]:
        """The nearest segment's name of each customer."""
        points = (_logs(customers) - self.mean) / self.deviation
        distances = ((points[:, None, :] - self.centres[None, :, :]) ** 2).sum(axis=2)
        return [self.names[nearest] for nearest in distances.argmin(axis=1)]

    def told(self, customers: pd.DataFrame) -> dict[str, Any]:
        """What a manifest and MLflow hold of it."""
        counts = pd.Series(self.of(customers)).value_counts()
        return {
            "count": len(self.names),
            "silhouette": self.silhouette,
            "silhouettes": {str(count): value for count, value in self.silhouettes.items()},
            "customers": {name: int(counts.get(name, 0)) for name in self.names},
        }


def fit_segments(customers: pd.DataFrame, names: Sequence[SegmentName], seed: int = 0) -> Segments | None:
    """As many segments, up to one a name, as fit the customers best; None where they are too few or all alike."""
    logs = _logs(customers)
    mean, deviation = logs.mean(axis=0), logs.std(axis=0)
    points = (logs - mean) / np.where(deviation > 0, deviation, 1.0)
    most = min(len(names), len(np.unique(points, axis=0)) - 1)
    if most < min(FEWEST, len(names)):
        return None
    tried = {}
    for count in range(2, most + 1):
        model = KMeans(count, n_init=STARTS, random_state=seed).fit(points)
        with config_context(working_memory=WORKING_MB):
            rows = min(JUDGED_ROWS, len(points))
            score = silhouette_score(points, model.labels_, sample_size=rows, random_state=seed)
        tried[count] = (float(score), model.cluster_centers_)
    best = max((count for count in tried if count >= min(FEWEST, len(names))), key=lambda count: tried[count][0])
    centres = tried[best][1]
    silhouettes = {count: score for count, (score, _) in tried.items()}
    return Segments(_named(centres, names), centres, mean, np.where(deviation > 0, deviation, 1.0), silhouettes)


def _logs(customers: pd.DataFrame) -> Floats:
    """How lately (the nearer, the larger), how often and for how much, as logarithms."""
    values = customers[[RECENCY, FREQUENCY, SPEND]].to_numpy(dtype=np.float64)
    return np.asarray(np.log1p(np.clip(values, 0.0, None)) * np.array([-1.0, 1.0, 1.0]))


def _named(centres: Floats, names: Sequence[SegmentName]) -> tuple[str, ...]:
    """Each centre gets a name of its own, so that the names lie as near to their centres as they can."""
    places = np.array([[one.lately, one.often, one.much] for one in names])
    distances = ((centres[:, None, :] - places[None, :, :]) ** 2).sum(axis=2)
    _, chosen = linear_sum_assignment(distances)
    return tuple(names[i].name for i in chosen)
