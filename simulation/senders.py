"""What senders share, and the sender over HTTP: a given rate, retries that repeat no prediction, honest counts."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import orjson
import urllib3

from churn.errors import ChurnwatchError
from simulation.traffic import Event, Receipt

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 2.0
KEPT_PROBLEMS = 5
KEPT_LATENCIES = 100_000


class SendError(ChurnwatchError):
    """Nothing can be sent there at all: a wrong address, a missing stream, a missing key."""


@dataclass(slots=True)
class Sent:
    """The count of a run: `sent` = `answered` + `refused` + `failed`, once nothing is under way.

    Over Kinesis, `answered` is what the input stream took; `read_results` counts the answers. `problems` holds the
    first few refusals and failures in words; `latencies` the seconds of the newest answered requests.
    """

    route: str
    sent: int = 0
    answered: int = 0
    refused: int = 0
    failed: int = 0
    retries: int = 0
    seconds: float = 0.0
    prediction_ids: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT_LATENCIES))

    @property
    def rate(self) -> float:
        """Answered events a second."""
        return self.answered / self.seconds if self.seconds else 0.0

    def latency(self, quantile: float) -> float:
        """Seconds of a request at a quantile from 0 to 1; 0 when nothing was answered."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(quantile * len(ordered)))] if ordered else 0.0

    def note(self, problem: str) -> None:
        if len(self.problems) < KEPT_PROBLEMS and problem not in self.problems:
            self.problems.append(problem)


class Pace:
    """Holds senders to a rate of events a second, without drifting; 0 means as fast as it goes."""

    def __init__(
        self,
        rate: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Any] = time.sleep,
    ) -> None:
        self._rate, self._clock, self._sleep = rate, clock, sleep
        self._start = clock()

    def wait(self, position: int) -> None:
        """Return when event number `position` of this run is due."""
        if self._rate > 0:
            seconds = self._start + position / self._rate - self._clock()
            if seconds > 0:
                self._sleep(seconds)


def pauses() -> Iterator[float]:
    """Growing seconds between tries, with jitter, so that many senders do not return at the same moment."""
    pause = FIRST_PAUSE_SECONDS
    while True:
        yield pause * random.uniform(0.5, 1.0)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def groups(events: Iterable[Event], size: int) -> Iterator[list[Event]]:
    iterator = iter(events)
    while group := list(islice(iterator, size)):
        yield group


def send_http(
    events: Iterable[Event],
    url: str,
    *,
    connections: int = 4,
    rate: float = 0.0,
    batch: int = 1,
    retry_seconds: float = 30.0,
    timeout_seconds: float = 30.0,
    api_key: str | None = None,
    on_receipt: Callable[[Receipt], None] | None = None,
    stop: threading.Event | None = None,
    keep_ids: bool = True,
) -> Sent:
    """Post every event to URL/predict: alone, or in lists of `batch`. `rate` is in events a second, all connections
    together.

    A request that meets an outage, 429 or a 5xx is tried again for `retry_seconds`, with the same event ids, so
    nothing is predicted twice; then it counts as failed, and the rest is not sent. Setting `stop` ends the run early;
    without `keep_ids` a run without end needs no more memory with time.
    Raises SendError when the address serves no predictions or wants a key.
    """
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {api_key}"} if api_key else {})}
    pool = urllib3.PoolManager(maxsize=connections, block=True, retries=False, timeout=timeout_seconds, headers=headers)
    run = _HttpRun(
        f"{url.rstrip('/')}/predict", pool, batch, retry_seconds, on_receipt, stop or threading.Event(), keep_ids
    )
    try:
        return run.run(events, connections, rate)
    finally:
        pool.clear()


class _HttpRun:
    """One run: several threads, each taking the next group when it is free."""

    def __init__(
        self,
        url: str,
        pool: urllib3.PoolManager,
        batch: int,
        retry_seconds: float,
        on_receipt: Callable[[Receipt], None] | None,
        stop: threading.Event,
        keep_ids: bool,
    ) -> None:
        self.url, self.pool, self.batch, self.retry_seconds = url, pool, batch, retry_seconds
        self.on_receipt, self.stop, self.keep_ids = on_receipt, stop, keep_ids
        self.sent = Sent("http")
        self.counting = threading.Lock()
        self.taking = threading.Lock()

    def run(self, events: Iterable[Event], connections: int, rate: float) -> Sent:
        started = time.monotonic()
        self.pace = Pace(rate, sleep=self.stop.wait)
        self.numbered = enumerate(groups(events, self.batch))
        with ThreadPoolExecutor(connections) as workers:
            futures = [workers.submit(self._work) for _ in range(connections)]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                self.stop.set()
                raise
        self.sent.seconds = time.monotonic() - started
        return self.sent

    def _work(self) -> None:
        try:
            while not self.stop.is_set():
                with self.taking:
                    number, group = next(self.numbered, (0, []))
                if not group:
                    return
                self.pace.wait(number * self.batch)
                if not self.stop.is_set():
                    self._send(group)
        except BaseException:
            self.stop.set()
            raise

    def _send(self, group: list[Event]) -> None:
        fields = [event.fields() for event in group]
        body = orjson.dumps(fields if self.batch > 1 else fields[0])
        sent_at, started = datetime.now(UTC), time.monotonic()
        with self.counting:
            self.sent.sent += len(group)
        for pause in pauses():
            tried = time.monotonic()
            problem, wished = self._try(group, body, sent_at, tried)
            if problem is None:
                return
            if time.monotonic() - started + pause > self.retry_seconds or self.stop.is_set():
                self._fail(group, problem, sent_at)
                return
            with self.counting:
                self.sent.retries += 1
            self.stop.wait(max(pause, min(wished, LONGEST_PAUSE_SECONDS)))

    def _try(self, group: list[Event], body: bytes, sent_at: datetime, tried: float) -> tuple[str | None, float]:
        """One request. (None, 0) when it is settled; else what stands in the way, and the seconds to wait."""
        try:
            response = self.pool.request("POST", self.url, body=body)
        except urllib3.exceptions.LocationValueError as error:
            raise SendError(f"{self.url} is no address: {error}; give one such as http://127.0.0.1:9696") from error
        except urllib3.exceptions.HTTPError as error:
            return f"{self.url}: {error}", 0.0
        if response.status == 200:
            answers = orjson.loads(response.data)
            self._answered(group, answers if isinstance(answers, list) else [answers], sent_at, tried)
            return None, 0.0
        problem = f"{self.url} answered {response.status}: {problem_detail(response.data)}"
        if response.status in (401, 403, 404, 405):
            raise SendError(problem)
        if response.status == 429 or response.status >= 500:
            wished = response.headers.get("Retry-After", "0")
            return problem, float(wished) if wished.isdigit() else 0.0
        with self.counting:
            self.sent.refused += len(group)
            self.sent.note(problem)
        self._receipts([Receipt(event, "http", sent_at, None) for event in group])
        return None, 0.0

    def _answered(self, group: list[Event], answers: list[Any], sent_at: datetime, tried: float) -> None:
        if len(answers) != len(group):
            raise SendError(f"{self.url} gave {len(answers)} answers to {len(group)} events; is it a web_service?")
        receipts = [
            Receipt(event, "http", sent_at, str(answer["prediction_id"]))
            for event, answer in zip(group, answers, strict=True)
        ]
        with self.counting:
            self.sent.answered += len(group)
            self.sent.latencies.append(time.monotonic() - tried)
            if self.keep_ids:
                self.sent.prediction_ids.update((r.event.event_id, str(r.prediction_id)) for r in receipts)
        self._receipts(receipts)

    def _fail(self, group: list[Event], problem: str, sent_at: datetime) -> None:
        with self.counting:
            self.sent.failed += len(group)
            self.sent.note(problem)
        self._receipts([Receipt(event, "http", sent_at, None) for event in group])
        self.stop.set()

    def _receipts(self, receipts: list[Receipt]) -> None:
        if self.on_receipt is not None:
            with self.counting:
                for receipt in receipts:
                    self.on_receipt(receipt)


def problem_detail(body: bytes) -> str:
    """The sentence of a problem+json body, or the start of any other."""
    try:
        document = orjson.loads(body)
        return str(document.get("detail") or document.get("title") or document)[:500]
    except (orjson.JSONDecodeError, AttributeError):
        return body[:200].decode("utf-8", errors="replace")
