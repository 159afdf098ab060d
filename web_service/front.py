"""In front of Flask: one record to POST /predict is answered here, in groups; whatever else comes goes to Flask.

A thread a request costs two context switches to wait for its fsync, more than all the rest of a prediction. Here
requests are coroutines on one thread: those that arrive while a group is being written form the next one, which is
scored by one call, logged by one append and answered in one go (docs/decisions/0007-front.md has the figures).

Every error has one author: a request that is not plain, or fails in any way, goes to Flask's route with the body as
read. granian's RSGI is what carries both ways; its only other home is server.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, Protocol

from churn.metrics import WebMetrics
from churn.prediction import Prediction, answer_json
from web_service.bridge import Answer, WSGIBridge
from web_service.gate import Gate
from web_service.problems import Problem
from web_service.service import PredictionService, Single
from web_service.strict_json import parse

HEADERS = [("content-type", "application/json")]
ALIVE = b'{"status":"alive"}'
PLAIN_BYTES = 1 << 16
"""Larger bodies are lists in all but name: Flask's threads take them, so that they hold nobody up here."""
UNREADABLE = "\N{REPLACEMENT CHARACTER}"
"""The value of a header that is not ASCII. A key that is one is refused; it must not pass for none."""
GATHER_SECONDS = 0.002
"""How long a group waits for as many requests as the last one had."""
GATHER_FROM = 3
"""A group of at least so many makes the next one wait for company."""


class Scope(Protocol):
    """A request as RSGI tells it."""

    proto: str
    http_version: str
    server: str
    client: str
    scheme: str
    method: str
    path: str
    query_string: str
    headers: Any


class Exchange(Protocol):
    """RSGI's protocol object: the body comes from it, the answer goes to it."""

    async def __call__(self) -> bytes: ...

    def __aiter__(self) -> Any: ...

    def response_bytes(self, status: int, headers: Sequence[tuple[str, str]], body: bytes) -> None: ...


class Front:
    """The RSGI application of one worker: one event loop, and threads for what goes to Flask."""

    def __init__(
        self,
        service: PredictionService,
        gate: Gate,
        bridge: WSGIBridge,
        threads: Executor,
        metrics: WebMetrics,
        body_limit: int,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        self._service = service
        self._gate = gate
        self._bridge = bridge
        self._threads = threads
        self._count_health = metrics.requests.labels("/health", "200").inc
        self._count_plain = metrics.requests.labels("/predict", "200").inc
        self._body_limit = body_limit
        self._on_close = on_close
        self._groups = Groups(service.predict_group)
        self._keyed_groups = ThreadGroups(service.predict_keyed_group, threads)

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Nothing to do: the parts are made before, so that a failure ends the worker at once."""

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._on_close()

    async def __rsgi__(self, scope: Scope, exchange: Exchange) -> None:
        length = scope.headers.get("content-length")
        if scope.path == "/predict" and scope.method == "POST" and self._is_plain(scope, length):
            body = await exchange()
            found = await self._answer(body, scope.headers.get("idempotency-key"))
            if found is not None:
                self._count_plain()
                exchange.response_bytes(200, HEADERS, found)
                return
        elif scope.path == "/health" and scope.method == "GET":
            self._count_health()  # here, since threads may all be waiting for a store that is away: alive all the same
            exchange.response_bytes(200, HEADERS, ALIVE)
            return
        else:
            body = await self._bounded_body(exchange, length)
        status, headers, payload = await self._through_flask(scope, body)
        exchange.response_bytes(status, headers, payload)

    def _is_plain(self, scope: Scope, length: str | None) -> bool:
        headers = scope.headers
        return (
            self._gate.is_open
            and headers.get("content-type") == "application/json"
            and length is not None
            and length.isdecimal()
            and int(length) <= PLAIN_BYTES
            # One that is there and cannot be read is not ASCII: Flask's route refuses it.
            and (headers.get("idempotency-key") is not None or "idempotency-key" not in headers)
        )

    async def _answer(self, body: bytes, key: str | None) -> bytes | None:
        """The answer, or None when Flask is to give it."""
        try:
            single = self._service.single(parse(body), key)
            if single is None:
                return None
            groups = self._keyed_groups if single.keyed else self._groups
            return answer_json(await groups.join(single))
        except Exception:  # Flask's own route meets the same error, and tells, counts and logs it
            return None

    async def _bounded_body(self, exchange: Exchange, length: str | None) -> bytes:
        """The body up to one byte more than the limit: enough for Flask to see that it is too large."""
        if length is not None and length.isdecimal() and int(length) > self._body_limit:
            return b""  # its Content-Length says it
        chunks, size = [], 0
        async for chunk in exchange:
            chunks.append(bytes(chunk))
            size += len(chunk)
            if size > self._body_limit:
                break
        return b"".join(chunks)[: self._body_limit + 1]

    async def _through_flask(self, scope: Scope, body: bytes) -> Answer:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._bridge.answer, scope, told(scope.headers), body)


def told(headers: Any) -> list[tuple[str, str]]:
    """Every header. granian leaves those out whose value is not ASCII: they are told as UNREADABLE, never as absent."""
    readable = list(headers.items())
    names = {name for name, _ in readable}
    return [*readable, *((name, UNREADABLE) for name in headers.keys() if name not in names)]  # noqa: SIM118  # no dict


Outcome = Prediction | Problem
Seat = tuple[Single, "asyncio.Future[Prediction]"]


class Groups:
    """Requests that meet are answered by one call. For one event loop; nothing here waits but its requests."""

    def __init__(self, together: Callable[[Sequence[Single]], Sequence[Outcome]]) -> None:
        self._together = together
        self._waiting: list[Seat] = []
        self._last = 0
        self._timer: asyncio.TimerHandle | None = None

    def join(self, single: Single) -> asyncio.Future[Prediction]:
        """The answer to come. It raises what `together` raised for the group."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Prediction] = loop.create_future()
        self._waiting.append((single, future))
        waiting = len(self._waiting)
        if waiting == 1:
            if self._last < GATHER_FROM:
                loop.call_soon(self._flush)
            else:
                self._timer = loop.call_later(GATHER_SECONDS, self._flush)
        elif waiting == self._last and self._timer is not None:
            self._timer.cancel()
            self._timer = None
            loop.call_soon(self._flush)
        return future

    def _flush(self) -> None:
        group, self._waiting, self._timer = self._waiting, [], None
        self._last = len(group)
        try:
            _settle(group, self._together([single for single, _ in group]))
        except Exception as error:
            _fail(group, error)


class ThreadGroups:
    """As `Groups`, on a thread, one group at a time: for work that may wait for other processes."""

    def __init__(self, together: Callable[[Sequence[Single]], Sequence[Outcome]], threads: Executor) -> None:
        self._together = together
        self._threads = threads
        self._waiting: list[Seat] = []
        self._busy = False

    def join(self, single: Single) -> asyncio.Future[Prediction]:
        """The answer to come. It raises its Problem, or what `together` raised for the group."""
        future: asyncio.Future[Prediction] = asyncio.get_running_loop().create_future()
        self._waiting.append((single, future))
        if not self._busy:
            self._start()
        return future

    def _start(self) -> None:
        group, self._waiting, self._busy = self._waiting, [], True
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._threads, self._together, [single for single, _ in group])
        work.add_done_callback(lambda done: self._finish(group, done))

    def _finish(self, group: Sequence[Seat], done: asyncio.Future[Sequence[Outcome]]) -> None:
        self._busy = False
        if self._waiting:
            self._start()
        error = done.exception()
        if error is None:
            _settle(group, done.result())
        else:
            _fail(group, error)


def _settle(group: Sequence[Seat], outcomes: Sequence[Outcome]) -> None:
    for (_, future), outcome in zip(group, outcomes, strict=True):
        if future.done():  # its client is gone
            continue
        if isinstance(outcome, Problem):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)


def _fail(group: Sequence[Seat], error: BaseException) -> None:
    for _, future in group:
        if not future.done():
            future.set_exception(error)
