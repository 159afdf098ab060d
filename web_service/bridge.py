"""ASGI request -> WSGI application on a thread -> answer: how the event loop hands requests to Flask, bodies whole."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from typing import Any

from churn.metrics import WebMetrics
from web_service.gate import CLIENT

Answer = tuple[int, list[tuple[str, str]], bytes]
"""Status, headers, body."""
ALIVE = b'{"status":"alive"}'
JSON = (b"content-type", b"application/json")
BODY_SECONDS = 60.0
"""How long a body may take to arrive."""


class WSGIBridge:
    """Calls a WSGI application for requests in the form of ASGI. Safe to share between threads."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app

    def answer(self, scope: dict[str, Any], body: bytes) -> Answer:
        told: list[Any] = []

        def start_response(status: str, headers: list[tuple[str, str]], error: Any = None) -> None:
            told[:] = [int(status.split(" ", 1)[0]), headers]

        result = self._app(_environ(scope, body), start_response)
        try:
            payload = b"".join(result)
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()
        return told[0], told[1], payload


class BehindFront:
    """The ASGI application for all that the front does not take: Flask, on a thread pool."""

    def __init__(self, bridge: WSGIBridge, threads: Executor, metrics: WebMetrics, body_limit: int) -> None:
        self._bridge = bridge
        self._threads = threads
        self._body_limit = body_limit
        self._count_health = metrics.requests.labels("/health", "200").inc

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["path"] == "/health" and scope["method"] == "GET":
            self._count_health()  # here, since threads may all be waiting for a store that is away: alive all the same
            await _send(send, 200, [JSON, (b"content-length", b"%d" % len(ALIVE))], ALIVE)
            return
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await self._bounded_body(scope, receive)
        except TimeoutError:
            await _send(send, 408, [(b"content-length", b"0"), (b"connection", b"close")], b"")
            return
        if body is None:  # the client is gone
            return
        loop = asyncio.get_running_loop()
        status, headers, payload = await loop.run_in_executor(self._threads, self._bridge.answer, scope, body)
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        await _send(send, status, encoded, payload)

    async def _bounded_body(self, scope: dict[str, Any], receive: Any) -> bytes | None:
        """The body up to one byte more than the limit: enough for Flask to see that it is too large."""
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if length.isdigit() and int(length) > self._body_limit:
            return b""  # its Content-Length says it
        chunks, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            chunks.append(message["body"])
            size += len(message["body"])
            if size > self._body_limit or not message["more_body"]:
                return b"".join(chunks)[: self._body_limit + 1]


async def _send(send: Any, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _environ(scope: dict[str, Any], body: bytes) -> dict[str, Any]:
    server, port = scope["server"] or ("", 0)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": scope["path"].encode("utf-8", "surrogateescape").decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": server,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": scope["client"][0] if scope["client"] else "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": io.BytesIO(body),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    if CLIENT in scope:
        environ[CLIENT] = scope[CLIENT]
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if "_" in name or name == "transfer-encoding":  # else X_API_KEY could pass for X-API-KEY; the body is whole
            continue
        key = name.upper().replace("-", "_")
        key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    environ.setdefault("CONTENT_LENGTH", str(len(body)))  # sent in chunks: now its size is known
    return environ
