"""What Schemathesis must know beyond the document: loaded into its process by test_openapi.py."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import schemathesis

from churn.prediction import id_text

IDS = ("customer_id", "event_id", "prediction_id", "CLIENTNUM")


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """Ids as senders make them. Whatever is no right id stays as it is, to be refused."""
    return [with_sensible_ids(item) for item in body] if isinstance(body, list) else with_sensible_ids(body)


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """A new Idempotency-Key a request: the same one with another body is told to be another request, which it is."""
    key = (case.headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and key.strip() and re.fullmatch("[ -~]{1,255}", key):
        case.headers["Idempotency-Key"] = uuid4().hex


def with_sensible_ids(item: Any) -> Any:
    if not isinstance(item, Mapping):
        return item
    return {name: sensible(name, value) if name in IDS else value for name, value in item.items()}


def sensible(name: str, value: Any) -> Any:
    """JSON Schema takes 7.0 for an integer; ids do not, since two texts would be made of one id. Events are new."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return uuid4().hex if name == "event_id" and id_text(value) is not None else value
