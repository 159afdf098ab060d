"""In front of Flask: plain predictions are answered here, in groups; whatever else comes goes to Flask.

A thread a request costs two context switches to wait for its fsync, more than all the rest of a prediction. Here
requests wait on one event loop: those that arrive while a group is being written form the next one, which is scored
by one call, logged by one append and answered in one go (docs/decisions/0007-front.md has the figures).

Every error has one author: a request that fails in any way goes to Flask's route, as it came.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, Protocol

from churn.metrics import WebMetrics
from churn.prediction import Prediction, answer_json
from web_service.gate import Gate
from web_service.heads import Heads, Plain
from web_service.problems import Problem
from web_service.service import PredictionService, Single
from web_service.strict_json import parse

GATHER_SECONDS = 0.002
"""How long a group waits for as many requests as the last one had."""
GATHER_FROM = 3
"""A group of at least so many makes the next one wait for company."""

Outcome = Prediction | Problem
Together = Callable[[Sequence[Single]], Sequence[Outcome]]


class Seat(Protocol):
    """A request's place: where its answer goes. It is told exactly once."""

    address: str
    admitted: str | None
    """The client that the gate admitted, for those who come after."""

    def reply(self, body: bytes) -> None:
        """Give a 200 with this JSON."""

    def fall_back(self) -> None:
        """Hand the request to Flask."""


class Front:
    """Takes plain predictions of one worker. For its event loop alone."""

    def __init__(self, service: PredictionService, gate: Gate, threads: Executor, metrics: WebMetrics) -> None:
        self.heads = Heads()
        self._service = service
        self._gate = gate
        self._count = metrics.requests.labels("/predict", "200").inc
        self._groups = Groups(service.predict_group, self._tell)
        self._keyed_groups = ThreadGroups(service.predict_keyed_group, self._tell, threads)

    def take(self, plain: Plain, body: bytes, seat: Seat) -> bool:
        """Whether the request will be answered through its seat. If not, it is Flask's to answer or refuse."""
        try:
            seat.admitted = client = self._gate.admit_token(plain.token, seat.address)
            single = self._service.single(parse(body), plain.key, client)
        except Exception:  # Flask's own route meets the same error, and tells, counts and logs it
            return False
        if single is None:
            return False
        if single.keyed:
            self._keyed_groups.join(single, seat)
        else:
            self._groups.join(single, seat)
        return True

    def _tell(self, seats: Sequence[Seat], outcomes: Sequence[Outcome] | BaseException) -> None:
        if isinstance(outcomes, BaseException):
            for seat in seats:
                seat.fall_back()
            return
        answered = 0
        for seat, outcome in zip(seats, outcomes, strict=True):
            if isinstance(outcome, Problem):
                seat.fall_back()
            else:
                answered += 1
                seat.reply(answer_json(outcome))
        self._count(answered)


Tell = Callable[[Sequence[Any], Sequence[Outcome] | BaseException], None]
"""Gets a group's seats and its outcomes in the same order, or what `together` raised."""


class Groups:
    """Requests that meet are answered by one call. For one event loop; nothing here waits but its requests."""

    def __init__(self, together: Together, tell: Tell) -> None:
        self._together = together
        self._tell = tell
        self._singles: list[Single] = []
        self._seats: list[Any] = []
        self._last = 0
        self._timer: asyncio.TimerHandle | None = None

    def join(self, single: Single, seat: Any) -> None:
        self._singles.append(single)
        self._seats.append(seat)
        waiting = len(self._seats)
        if waiting == 1:
            loop = asyncio.get_running_loop()
            if self._last < GATHER_FROM:
                loop.call_soon(self._flush)
            else:
                self._timer = loop.call_later(GATHER_SECONDS, self._flush)
        elif waiting == self._last and self._timer is not None:
            self._timer.cancel()
            self._timer = None
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        singles, seats, self._timer = self._singles, self._seats, None
        self._singles, self._seats = [], []
        self._last = len(seats)
        outcomes: Sequence[Outcome] | BaseException
        try:
            outcomes = self._together(singles)
        except Exception as error:
            outcomes = error
        self._tell(seats, outcomes)


class ThreadGroups:
    """As `Groups`, on a thread, one group at a time: for work that may wait for other processes."""

    def __init__(self, together: Together, tell: Tell, threads: Executor) -> None:
        self._together = together
        self._tell = tell
        self._threads = threads
        self._waiting: list[tuple[Single, Any]] = []
        self._busy = False

    def join(self, single: Single, seat: Any) -> None:
        self._waiting.append((single, seat))
        if not self._busy:
            self._start()

    def _start(self) -> None:
        group, self._waiting, self._busy = self._waiting, [], True
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._threads, self._together, [single for single, _ in group])
        work.add_done_callback(lambda done: self._finish([seat for _, seat in group], done))

    def _finish(self, seats: Sequence[Any], done: asyncio.Future[Sequence[Outcome]]) -> None:
        self._busy = False
        if self._waiting:
            self._start()
        error = done.exception()
        self._tell(seats, done.result() if error is None else error)
