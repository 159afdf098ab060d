"""What the service is made of: given, so that a test gives its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random

from churn.metrics import AnswerMetrics, StreamMetrics
from churn.scoring import Scorer
from churn.settings import StreamSettings
from churn.store.interface import PredictionStore
from stream_service.backoff import Persistence
from stream_service.dead_letters import DeadLetterLimit
from stream_service.health import Health
from stream_service.kinesis import Kinesis
from stream_service.pipeline import Carrier, Pipeline, Streams


@dataclass(frozen=True)
class Parts:
    """Lives as long as the process. All of it may be shared between threads; `random` only spreads retries."""

    kinesis: Kinesis
    store: PredictionStore
    current_scorer: Callable[[], Scorer]
    metrics: StreamMetrics
    answers: AnswerMetrics
    health: Health
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    monotonic: Callable[[], float] = time.monotonic
    random: Random = field(default_factory=Random)

    def persistence(self, pause: Callable[[float], None]) -> Persistence:
        return Persistence(self.metrics, pause, self.random)

    def limit(self, settings: StreamSettings) -> DeadLetterLimit:
        return DeadLetterLimit(settings.dead_letter_share, settings.dead_letter_window)

    def pipeline(self, settings: StreamSettings, limit: DeadLetterLimit, persistence: Persistence) -> Carrier:
        """One for each shard; the limit is common to all of a worker's."""
        return Pipeline(
            kinesis=self.kinesis,
            streams=streams(settings),
            store=self.store,
            current_scorer=self.current_scorer,
            limit=limit,
            metrics=self.metrics,
            answers=self.answers,
            persistence=persistence,
            longest_bytes=settings.stream_record_bytes,
            now=self.now,
        )


def streams(settings: StreamSettings) -> Streams:
    return Streams(settings.input_stream, settings.results_stream, settings.dead_letter_stream)
