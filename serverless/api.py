"""API Gateway's events and answers, of an HTTP API (2.0) and of a REST API (1.0): a request out of the one, a response
for both."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from serverless.score import shown

BODY_LIMIT_BYTES = 1_000_000
MAXIMUM_DEPTH = 8
"""As the HTTP service takes it."""
RETRY_SECONDS = 5
TITLES = {
    400: "The body is not JSON",
    404: "There is nothing here",
    405: "The method does not fit the route",
    413: "The body is too large",
    422: "Some fields are wrong",
    502: "The endpoint gave no answer that can be read",
    503: "A part that this needs cannot be reached",
}
Event = Mapping[str, Any]
Answer = dict[str, Any]


class Problem(Exception):
    """An answer that says what was wrong (RFC 9457)."""

    def __init__(self, status: int, detail: str, errors: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(detail)
        self.status = status
        self.document = {
            "type": "about:blank",
            "title": TITLES[status],
            "status": status,
            "detail": detail,
            **({"errors": list(errors)} if errors else {}),
        }


class Request(NamedTuple):
    """What of an event matters. `request_id` is API Gateway's, for the log."""

    method: str
    path: str
    origin: str
    request_id: str
    body: str
    is_base64: bool


def request_of(event: Event) -> Request:
    """Raises Problem (400) for an event that is not API Gateway's."""
    try:
        context = event.get("requestContext") or {}
        if event.get("version") == "2.0":
            method, path = context["http"]["method"], event.get("rawPath", "")
        else:
            method, path = event.get("httpMethod", ""), event.get("path", "")
        headers = {str(name).lower(): value for name, value in (event.get("headers") or {}).items()}
        return Request(
            str(method),
            str(path),
            str(headers.get("origin") or ""),
            str(context.get("requestId") or ""),
            event.get("body") or "",
            bool(event.get("isBase64Encoded")),
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise Problem(400, f"not an event of API Gateway, REST or HTTP: {type(error).__name__} {error}") from error


def record_of(request: Request) -> dict[str, Any]:
    """The body as one JSON object, as strictly read as the HTTP service does. Raises Problem."""
    body = request.body
    if not isinstance(body, str):
        raise Problem(400, f"a body of type {type(body).__name__}: expected text")
    if len(body) > BODY_LIMIT_BYTES:
        raise Problem(413, f"{len(body)} characters: expected at most {BODY_LIMIT_BYTES}")
    try:
        raw = base64.b64decode(body, validate=True).decode() if request.is_base64 else body
        record = json.loads(raw, parse_constant=_no_constant, object_pairs_hook=_without_twins)
        json.dumps(record, ensure_ascii=False).encode()  # half a surrogate pair is no text that a log could keep
    except (binascii.Error, ValueError, RecursionError) as error:
        raise Problem(400, f"{error}; send one JSON object of fields") from error
    if not isinstance(record, dict):
        raise Problem(422, f"expected one object of fields, got {shown(record)}")
    if _is_deep(record):
        raise Problem(400, f"nested deeper than {MAXIMUM_DEPTH} levels; send one JSON object of fields")
    return record


def response(status: int, document: Mapping[str, Any] | None, origin: str, allowed: Sequence[str]) -> Answer:
    """An answer for either kind of API; with CORS headers where the page that asks is of an allowed origin."""
    media_type = "application/json" if status < 400 else "application/problem+json"
    headers = {"content-type": media_type, "cache-control": "no-store", "x-content-type-options": "nosniff"}
    if status == 503:
        headers["retry-after"] = str(RETRY_SECONDS)
    if allowed:
        headers["vary"] = "origin"
    if "*" in allowed or origin in allowed:
        headers |= {
            "access-control-allow-origin": "*" if "*" in allowed else origin,
            "access-control-allow-methods": "POST, OPTIONS",
            "access-control-allow-headers": "content-type, x-api-key",
            "access-control-max-age": "600",
        }
    body = "" if document is None else json.dumps(document)
    return {"statusCode": status, "headers": headers, "body": body, "isBase64Encoded": False}


def _no_constant(word: str) -> float:
    raise ValueError(f"{word} is no JSON")


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a key stands there twice in one object")
    return fields


def _is_deep(document: Any) -> bool:
    level = [document]
    for _ in range(MAXIMUM_DEPTH):
        containers = [value for value in level if isinstance(value, dict | list)]
        level = [child for value in containers for child in (value.values() if isinstance(value, dict) else value)]
    return any(isinstance(value, dict | list) for value in level)
