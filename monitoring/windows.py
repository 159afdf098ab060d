"""Which predictions form a window, and which windows are closed. A window belongs to one contract and one run.

By time, windows begin at multiples of their length since 1970, and stretches without predictions have none. By count,
each begins after the last prediction of the one before, in order of (created_at, prediction_id), both routes together.
Either kind is left open for `lateness_seconds`, for records that reach the store late. One that is later still is
counted into its window by time, which is then restated; by count, where it would move every window after it, it is
left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import dropwhile, islice
from typing import Protocol

from churn.prediction import Prediction
from churn.store import PredictionStore

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """The place of a prediction in the log's order."""

    created_at: datetime
    prediction_id: str


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of the log: start <= created_at < end, only what lies `after` a position, at most `rows` of it.

    `series` names the kind of windows and `number` its place among them; `key` is its identity, and sorts by number.
    """

    contract: str
    model_run_id: str
    series: str
    number: int
    start: datetime
    end: datetime
    after: Position | None = None
    rows: int | None = None

    @property
    def key(self) -> str:
        return f"{series_prefix(self.contract, self.model_run_id, self.series)}{self.number:012d}"

    def read(self, store: PredictionStore) -> Iterator[Prediction]:
        """The window's predictions, in order, a page at a time."""
        found = store.window(self.contract, self.model_run_id, self.start, self.end)
        after = self.after
        if after is not None:
            found = dropwhile(lambda p: Position(p.created_at, p.prediction_id) <= after, found)
        return islice(found, self.rows)


class Previous(Protocol):
    """What the next window must know of the one before."""

    @property
    def window(self) -> Window: ...

    @property
    def last(self) -> Position | None: ...


class WindowRule(Protocol):
    """How the log is cut."""

    @property
    def series(self) -> str: ...

    @property
    def restates(self) -> bool:
        """Whether a judged window can be read again with the records that came late."""

    def next_closed(
        self, store: PredictionStore, contract: str, model_run_id: str, previous: Previous | None, now: datetime
    ) -> Window | None:
        """The window after `previous`, or None while it is open."""

    def still_open(
        self, store: PredictionStore, contract: str, model_run_id: str, previous: Previous | None, now: datetime
    ) -> str:
        """How far the open window is, in words."""


@dataclass(frozen=True, slots=True)
class TimeWindows:
    """Windows of `seconds` each."""

    seconds: float
    lateness_seconds: float

    @property
    def series(self) -> str:
        return f"seconds-{self.seconds:g}"

    @property
    def restates(self) -> bool:
        return True

    def next_closed(
        self, store: PredictionStore, contract: str, model_run_id: str, previous: Previous | None, now: datetime
    ) -> Window | None:
        since = previous.window.end if previous else EPOCH
        closed_until = now - timedelta(seconds=self.lateness_seconds)
        first = next(iter(store.window(contract, model_run_id, since, closed_until, limit=1)), None)
        if first is None:
            return None
        number = int((first.created_at - EPOCH) / timedelta(seconds=self.seconds))
        start = EPOCH + number * timedelta(seconds=self.seconds)
        end = start + timedelta(seconds=self.seconds)
        return Window(contract, model_run_id, self.series, number, start, end) if end <= closed_until else None

    def still_open(
        self, store: PredictionStore, contract: str, model_run_id: str, previous: Previous | None, now: datetime
    ) -> str:
        length = timedelta(seconds=self.seconds)
        end = EPOCH + (int((now - EPOCH) / length) + 1) * length
        rows = store.count(contract, model_run_id, max(end - length, previous.window.end if previous else EPOCH), end)
        return f"{rows:,} predictions in the open window, which closes at {end:%H:%M:%S} UTC"


@dataclass(frozen=True, slots=True)
class CountWindows:
    """Windows of `rows` predictions each."""

    rows: int
    lateness_seconds: float

    @property
    def series(self) -> str:
        return f"rows-{self.rows}"

    @property
    def restates(self) -> bool:
        return False

    def next_closed(
        self, store: PredictionStore, contract: str, model_run_id: str, previous: Previous | None, now: datetime
    ) -> Window | None:
        after = previous.last if previous else None
        number = previous.window.number + 1 if previous else 0
        start = after.created_at if after else EPOCH
        end = now - timedelta(seconds=self.lateness_seconds)
        if store.count(contract, model_run_id, start, end) < self.rows:
            return None
        window = Window(contract, model_run_id, self.series, number, start, end, after, self.rows)
        times = [prediction.created_at for prediction in window.read(store)]
        if len(times) < self.rows:
            return None
        return Window(contract, model_run_id, self.series, number, times[0], times[-1] + MICROSECOND, after, self.rows)

    def still_open(
        self, store: PredictionStore, contract: str, model_run_id: str, previous: Previous | None, now: datetime
    ) -> str:
        last = previous.last if previous else None
        rows = store.count(contract, model_run_id, last.created_at + MICROSECOND if last else EPOCH, now)
        return f"{min(rows, self.rows):,} of {self.rows:,} predictions in the open window"


def series_prefix(contract: str, model_run_id: str, series: str) -> str:
    """What the keys of a series' windows begin with."""
    return f"{contract}/{model_run_id}/{series}/"
