"""In front of Flask: the plain POST /predict is answered here, in groups; whatever else comes goes to Flask.

A thread a request costs two context switches to wait for its fsync, more than all the rest of a prediction. Here
requests are coroutines on one thread: those that arrive while a group is being written form the next one, which is
scored by one call, logged by one append and answered in one go (docs/decisions/0007-front.md has the figures).

Every error has one author: a request that is not plain, or fails in any way, goes to Flask's route with the body as
read. granian's RSGI is what carries both ways; its only other home is server.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from typing import Any, Protocol

from churn.metrics import WebMetrics
from churn.prediction import Prediction, answer_json
from web_service.bridge import Answer, WSGIBridge
from web_service.gate import Gate
from web_service.service import Plain, PredictionService
from web_service.strict_json import parse

HEADERS = [("content-type", "application/json")]
ALIVE = b'{"status":"alive"}'
PLAIN_BYTES = 1 << 16
"""Larger bodies are lists in all but name: Flask's threads take them, so that they hold nobody up here."""
UNREADABLE = "\N{REPLACEMENT CHARACTER}"
"""The value of a header that is not ASCII. A key that is one is refused; it must not pass for none."""
GATHER_SECONDS = 0.001
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

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Nothing to do: the parts are made before, so that a failure ends the worker at once."""

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._on_close()

    async def __rsgi__(self, scope: Scope, exchange: Exchange) -> None:
        length = scope.headers.get("content-length")
        if scope.path == "/predict" and scope.method == "POST" and self._is_plain(scope, length):
            body = await exchange()
            found = await self._answer(body)
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
            and "idempotency-key" not in headers
        )

    async def _answer(self, body: bytes) -> bytes | None:
        """The answer, or None when Flask is to give it."""
        try:
            plain = self._service.plain(parse(body))
            if plain is None:
                return None
            return answer_json(await self._groups.join(plain))
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


class Groups:
    """Requests that meet are answered by one call. For one event loop; nothing here waits but its requests."""

    def __init__(self, together: Callable[[Sequence[Plain]], Iterable[Prediction]]) -> None:
        self._together = together
        self._waiting: list[tuple[Plain, asyncio.Future[Prediction]]] = []
        self._last = 0
        self._timer: asyncio.TimerHandle | None = None

    def join(self, plain: Plain) -> asyncio.Future[Prediction]:
        """The answer to come. It raises what `together` raised for the group."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Prediction] = loop.create_future()
        self._waiting.append((plain, future))
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
            predictions = self._together([plain for plain, _ in group])
        except Exception as error:
            for _, future in group:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), prediction in zip(group, predictions, strict=True):
            if not future.done():  # else its client is gone
                future.set_result(prediction)
