"""When somebody looks: a line a request (LOG_REQUESTS), a span a request (OpenTelemetry), or both.

Then every request goes through Flask, as those with a `traceparent` or an X-Request-Id always do: what is looked at may
be slower. Not there at all when both are off. A request's trace is W3C's `traceparent` where the caller sends one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import orjson
import structlog

from churn import tracing
from web_service.request_ids import HEADER

log = structlog.get_logger()
IDS_SHOWN = 20
PATH_SHOWN = 100
SPANNED = {"web_service.service:PredictionService": ("predict",), **tracing.SERVING}
CONTEXT = "churnwatch.context"
"""Where a request's scope holds its trace: threads that answer for it do not inherit it."""


def start_web_tracing() -> None:
    """Call once a worker, before its parts are made."""
    if tracing.tracing_is_on():
        tracing.start_tracing("web", SPANNED)
        tracing.wrap("web_service.bridge:WSGIBridge", "answer", _in_context)


def observed(front: Any, behind: Any, log_requests: bool) -> tuple[Any, Any]:
    """The front and what is behind it: as they are when nobody looks, else nothing plain and an observer."""
    if not (log_requests or tracing.tracing_is_on()):
        return front, behind
    return NothingPlain(), Observer(behind, log_requests)


class NothingPlain:
    """A front that leaves every request to what is behind it."""

    @property
    def heads(self) -> NothingPlain:
        return self

    def plain(self, head: bytes) -> None:
        """No head is plain."""

    def take(self, *_: Any) -> bool:
        return False


class Observer:
    """An ASGI application around another."""

    def __init__(self, app: Any, log_requests: bool) -> None:
        self._app, self._log_requests = app, log_requests
        self._traces = tracing.tracing_is_on()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        seen = Seen(send)
        if self._traces:
            await self._traced(scope, receive, seen)
        else:
            await self._app(scope, receive, seen)
        if self._log_requests:
            log.info("request", method=scope["method"], path=scope["path"][:PATH_SHOWN], **seen.facts())

    async def _traced(self, scope: dict[str, Any], receive: Any, seen: Seen) -> None:
        from opentelemetry import trace
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind

        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        sent = {name: headers[name] for name in ("traceparent", "tracestate") if name in headers}
        method, path = scope["method"], scope["path"][:PATH_SHOWN]
        tracer = trace.get_tracer("churnwatch")
        with tracer.start_as_current_span(
            f"{method} {path}", extract(sent), SpanKind.SERVER, record_exception=False
        ) as span:
            await self._app({**scope, CONTEXT: trace.set_span_in_context(span)}, receive, seen)
            told = seen.facts()
            span.set_attributes({"http.request.method": method, "url.path": path})
            span.set_attribute("http.response.status_code", told["status"])
            for name in ("request_id", "prediction_ids"):
                span.set_attribute(f"{tracing.PREFIX}{name}", told[name])


class Seen:
    """ASGI's `send` that remembers what was answered."""

    def __init__(self, send: Any) -> None:
        self._send = send
        self._status, self._id, self._body, self._started = 0, "", b"", time.perf_counter()

    async def __call__(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            names = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in message["headers"]}
            self._id = names.get(HEADER, "")
        elif message["type"] == "http.response.body":
            self._body = message["body"]
        await self._send(message)

    def facts(self) -> dict[str, Any]:
        """Status, time, the request's id and those of the predictions given."""
        ids = _prediction_ids(self._body) if self._status == 200 else []
        seconds = round(time.perf_counter() - self._started, 6)
        return {"status": self._status, "seconds": seconds, "request_id": self._id, "prediction_ids": ids}


def _in_context(call: Callable[..., Any]) -> Callable[..., Any]:
    from opentelemetry import context

    def answer(self: Any, scope: dict[str, Any], body: bytes) -> Any:
        token = context.attach(scope.get(CONTEXT, context.get_current()))
        try:
            return call(self, scope, body)
        finally:
            context.detach(token)

    return answer


def _prediction_ids(body: bytes) -> list[str]:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return []
    found = answer if isinstance(answer, list) else [answer]
    return [one["prediction_id"] for one in found[:IDS_SHOWN] if isinstance(one, dict) and "prediction_id" in one]
