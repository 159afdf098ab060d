"""Counts answers in passing and hands them to the metrics in batches: a twentieth of the cost an answer."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

from churn.metrics import AnswerMetrics, observe_many
from churn.prediction import Prediction, Route

BATCH = 1_000


class AnswerTally:
    """What was answered since the last `flush`. Safe to share between threads. Whoever reads the metrics flushes."""

    def __init__(self, metrics: AnswerMetrics, route: Route) -> None:
        self._metrics = metrics
        self._route = route
        self._lock = threading.Lock()
        self._probabilities: dict[str, list[float]] = {}
        self._seconds: list[float] = []

    def answered(self, predictions: Sequence[Prediction], seconds: Iterable[float]) -> None:
        """Note durable answers and how long each took from its arrival."""
        with self._lock:
            for prediction in predictions:
                run_id = prediction.model_run_id
                if run_id not in self._probabilities:
                    self._probabilities[run_id] = []
                self._probabilities[run_id].append(prediction.churn_probability)
            self._seconds.extend(seconds)
            full = len(self._seconds) >= BATCH
        if full:
            self.flush()

    def refused(self, run_id: str, outcome: str, records: int) -> None:
        """Count records that got no new answer: repeated, invalid or not_logged."""
        self._metrics.predictions.labels(self._route, run_id, outcome).inc(records)

    def flush(self) -> None:
        """Bring the metrics up to date."""
        with self._lock:
            probabilities, self._probabilities = self._probabilities, {}
            seconds, self._seconds = self._seconds, []
        for run_id, values in probabilities.items():
            self._metrics.predictions.labels(self._route, run_id, "answered").inc(len(values))
            observe_many(self._metrics.probability.labels(self._route, run_id), values)
        observe_many(self._metrics.seconds.labels(self._route), seconds)
