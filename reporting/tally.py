"""One pass over a window's predictions: counts, a sample for Evidently, and 13 bytes a row."""

from __future__ import annotations

import random
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from churn.histogram import Histograms
from churn.prediction import Prediction
from reporting.window import Window

BATCH_ROWS = 2_000
SLOTS = 24
"""Bars of the traffic chart."""
SCORE_CELLS = 20


class Tally:
    """What a window's predictions add up to. `histograms` (None without a usable bundle) are counted alongside."""

    def __init__(self, window: Window, histograms: Histograms | None, sample_rows: int, seed: int) -> None:
        self.window = window
        self.histograms = histograms
        self.rows = 0
        self.routes: Counter[str] = Counter()
        self.contract_hashes: Counter[str] = Counter()
        self.thresholds: Counter[float] = Counter()
        self.missing: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()
        self.ignored_fields = 0
        self.flagged = 0
        self.probability_sum = 0.0
        self.flagged_probability_sum = 0.0
        self.score_counts = np.zeros(SCORE_CELLS, np.int64)
        self.slot_rows = np.zeros(SLOTS, np.int64)
        self.slot_flagged = np.zeros(SLOTS, np.int64)
        self.first_at: datetime | None = None
        self.last_at: datetime | None = None
        self.sample: list[Prediction] = []
        self._latencies = array("f")
        self._scores = array("d")
        self._flags = bytearray()
        self._sample_rows = sample_rows
        self._random = random.Random(seed)  # noqa: S311  # a sample, not a secret

    def take(self, predictions: Iterable[Prediction]) -> Tally:
        """Count all of them, in batches; returns itself."""
        for batch in _batches(predictions):
            self._count(batch)
            self._keep_sample(batch)
            self.rows += len(batch)
        return self

    @property
    def mean_probability(self) -> float | None:
        return self.probability_sum / self.rows if self.rows else None

    def latency_quantiles(self) -> tuple[float, float] | None:
        """The median and the 99th percentile of `latency_seconds`."""
        if not self.rows:
            return None
        median, tail = np.quantile(np.frombuffer(self._latencies, np.float32), [0.5, 0.99])
        return float(median), float(tail)

    def scores(self) -> NDArray[np.float64]:
        """Every row's churn probability."""
        return np.frombuffer(self._scores, np.float64) if self.rows else np.empty(0)

    def flags(self) -> NDArray[np.bool_]:
        """Whether each row, in the same order, was answered `churn`."""
        return np.frombuffer(self._flags, np.bool_) if self.rows else np.empty(0, np.bool_)

    def _count(self, batch: list[Prediction]) -> None:
        if self.histograms is not None:
            self.histograms.update(batch)
        # A log may hold a NaN that no encoder let through; it must not spoil the sums.
        probabilities = np.nan_to_num(np.array([prediction.churn_probability for prediction in batch]))
        flagged = np.array([prediction.churn for prediction in batch])
        seconds = np.array([(prediction.created_at - self.window.start).total_seconds() for prediction in batch])
        width = (self.window.end - self.window.start).total_seconds() / SLOTS
        slots = np.clip(seconds // width, 0, SLOTS - 1).astype(int)
        self.slot_rows += np.bincount(slots, minlength=SLOTS)
        self.slot_flagged += np.bincount(slots[flagged], minlength=SLOTS)
        self.score_counts += score_counts(probabilities)
        self.probability_sum += float(probabilities.sum())
        self.flagged_probability_sum += float(probabilities[flagged].sum())
        self.flagged += int(flagged.sum())
        self._scores.frombytes(probabilities.tobytes())
        self._flags += flagged.astype(np.bool_).tobytes()
        self._latencies.extend(prediction.latency_seconds for prediction in batch)
        for prediction in batch:
            self.routes[prediction.route] += 1
            self.contract_hashes[prediction.contract_hash] += 1
            self.thresholds[prediction.threshold] += 1
            self.missing.update(prediction.missing)
            self.unknown.update(prediction.unknown)
            self.ignored_fields += prediction.ignored
        times = [prediction.created_at for prediction in batch]
        self.first_at = min(times) if self.first_at is None else min(self.first_at, *times)
        self.last_at = max(times) if self.last_at is None else max(self.last_at, *times)

    def _keep_sample(self, batch: list[Prediction]) -> None:
        """Reservoir sampling (Vitter's algorithm R): every row of the window is kept with the same probability."""
        for position, prediction in enumerate(batch, start=self.rows):
            if position < self._sample_rows:
                self.sample.append(prediction)
            else:
                index = self._random.randrange(position + 1)
                if index < self._sample_rows:
                    self.sample[index] = prediction


def score_counts(probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
    """Counts in SCORE_CELLS equal cells from 0 to 1."""
    cells = np.clip(np.nan_to_num(probabilities) * SCORE_CELLS, 0, SCORE_CELLS - 1).astype(int)
    return np.bincount(cells, minlength=SCORE_CELLS)


def _batches(predictions: Iterable[Prediction]) -> Iterator[list[Prediction]]:
    source = iter(predictions)
    while batch := list(islice(source, BATCH_ROWS)):
        yield batch
