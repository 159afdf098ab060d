"""What goes wrong, as callers see it: RFC 9457 problem documents, and the one table from core errors to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from churn.errors import (
    BundleRefused,
    ChurnwatchError,
    FieldProblem,
    InvalidInput,
    JournalFull,
    RegistryUnavailable,
    StoreUnavailable,
    shown,
)

MEDIA_TYPE = "application/problem+json"
ERRORS_LISTED = 1_000
"""Most wrong fields named in one answer; `errors_total` says how many there were."""

TITLES: dict[str, tuple[int, str]] = {
    "not-json": (400, "The body is not JSON"),
    "bad-request": (400, "The request cannot be understood"),
    "no-key": (401, "An API key is needed"),
    "key-revoked": (403, "The API key was revoked"),
    "not-found": (404, "There is nothing here"),
    "customer-unknown": (404, "The customer is not known"),
    "method-not-allowed": (405, "The method does not fit the route"),
    "too-large": (413, "The body is too large"),
    "not-json-media-type": (415, "The body must be application/json"),
    "invalid-fields": (422, "Some fields are wrong"),
    "key-reused": (422, "The idempotency key belongs to another request"),
    "too-many-requests": (429, "Too many requests"),
    "internal": (500, "The service failed"),
    "journal-full": (503, "The prediction cannot be logged, so it is not given"),
    "unavailable": (503, "A part that this needs cannot be reached"),
}
"""Every kind of problem: its status and title. `type` in the document is urn:churnwatch:problem:KIND."""


class Problem(Exception):
    """An answer that says what was wrong. `errors` lists the wrong fields; `retry_after_seconds` becomes a header."""

    def __init__(
        self,
        kind: str,
        detail: str,
        errors: Sequence[Mapping[str, Any]] = (),
        retry_after_seconds: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.status, self.title = TITLES[kind]
        self.detail = detail
        self.errors = errors
        self.headers = dict(headers or {})
        if retry_after_seconds is not None:
            self.headers["Retry-After"] = str(retry_after_seconds)

    def as_json(self) -> bytes:
        document: dict[str, Any] = {
            "type": f"urn:churnwatch:problem:{self.kind}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors:
            document["errors"] = self.errors[:ERRORS_LISTED]
            document["errors_total"] = len(self.errors)
        return orjson.dumps(document)


def invalid_fields(problems: Sequence[tuple[int | None, InvalidInput]]) -> Problem:
    """One 422 with every wrong field of every wrong item; the index is None for a single object."""
    errors = [_field_error(index, field) for index, error in problems for field in error.problems]
    first = errors[0]["message"]
    where = "" if problems[0][0] is None else f"item {problems[0][0]}: "
    more = f" (and {len(errors) - 1} more under errors)" if len(errors) > 1 else ""
    return Problem("invalid-fields", f"{where}{first}{more}", errors)


def of_error(error: ChurnwatchError) -> Problem:
    """The problem that a core error is to a caller."""
    if isinstance(error, InvalidInput):
        return invalid_fields([(None, error)])
    if isinstance(error, JournalFull):
        return Problem("journal-full", str(error), retry_after_seconds=2)
    if isinstance(error, StoreUnavailable | RegistryUnavailable | BundleRefused):
        return Problem("unavailable", str(error), retry_after_seconds=5)
    return Problem("internal", "an error that should have been handled; it is in the service's log")


def _field_error(index: int | None, problem: FieldProblem) -> dict[str, Any]:
    error: dict[str, Any] = {} if index is None else {"index": index}
    value = problem.value
    return error | {
        "field": problem.field,
        "value": value if value is None or isinstance(value, bool | float) else _short(value),
        "expected": problem.expected,
        "message": str(problem),
    }


def _short(value: Any) -> Any:
    if isinstance(value, int):
        return value if abs(value) < 1 << 53 else str(value)[:60]
    return value if isinstance(value, str) and len(value) <= 60 else shown(value)
