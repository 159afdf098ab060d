"""Trying again: longer pauses each time, never in step with others, and no longer than a stop allows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from random import Random
from typing import TypeVar

import structlog

from churn.errors import StoreUnavailable, StreamUnavailable
from churn.metrics import StreamMetrics
from stream_service.records import Unsent

Answer = TypeVar("Answer")
log = structlog.get_logger()


class Stopped(Exception):
    """The batch could not be finished in the time that a stop allows; it will be delivered again."""


class Backoff:
    """Full jitter: a uniform draw below a ceiling that doubles. One object an ordeal."""

    def __init__(self, random: Random, first_seconds: float = 0.2, longest_seconds: float = 10.0) -> None:
        self._random = random
        self._first = self._ceiling = first_seconds
        self._longest = longest_seconds

    def next_seconds(self) -> float:
        drawn = self._random.uniform(0.0, self._ceiling)
        self._ceiling = min(2 * self._ceiling, self._longest)
        return drawn

    def reset(self) -> None:
        self._ceiling = self._first


class StopSignal:
    """Asks one worker to end. A batch in hand may still be finished within the grace; idle waits end at once."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._requested = threading.Event()
        self._overdue = threading.Event()
        self._deadline = float("inf")
        self._monotonic = monotonic

    @property
    def requested(self) -> bool:
        return self._requested.is_set()

    def request(self, grace_seconds: float) -> None:
        self._deadline = min(self._deadline, self._monotonic() + grace_seconds)
        self._requested.set()

    def wait(self, seconds: float) -> None:
        """Wait while idle: no longer than until a stop is asked for."""
        self._requested.wait(seconds)

    def pause(self, seconds: float) -> None:
        """Wait before trying a batch's effect again. Raises Stopped once the grace is over."""
        if not self._requested.is_set():
            self._requested.wait(seconds)
        else:
            self._overdue.wait(max(0.0, min(seconds, self._deadline - self._monotonic())))
        if self._requested.is_set() and self._monotonic() >= self._deadline:
            raise Stopped


class Persistence:
    """Makes a call until it succeeds: an outage stops progress, not truth."""

    def __init__(self, metrics: StreamMetrics, pause: Callable[[float], None], random: Random) -> None:
        self._metrics = metrics
        self._pause = pause
        self._random = random

    def until_done(self, call: str, attempt: Callable[[], Answer]) -> Answer:
        """Raises Stopped (by `pause`) when a stop comes first. Only outages are tried again."""
        backoff = self.backoff()
        while True:
            try:
                return attempt()
            except (StoreUnavailable, StreamUnavailable) as error:
                self.failed(call, error)
                self._pause(backoff.next_seconds())

    def backoff(self) -> Backoff:
        return Backoff(self._random)

    def failed(self, call: str, error: StoreUnavailable | StreamUnavailable) -> None:
        """Count and log an outage, without waiting."""
        cause = error.cause if isinstance(error, StreamUnavailable) else "store"
        self._metrics.retries.labels(call, cause).inc()
        log.warning("stream_call_failed", call=call, cause=cause, error=str(error))

    def refused(self, call: str, unsent: Unsent, backoff: Backoff) -> None:
        """Count, log and wait after a put that took only a part."""
        self._metrics.retries.labels(call, unsent.cause).inc()
        log.warning(
            "stream_put_refused", call=call, cause=unsent.cause, error=unsent.detail, entries=len(unsent.entries)
        )
        self._pause(backoff.next_seconds())
