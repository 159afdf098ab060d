"""Which requests are the same request: identities from event ids and Idempotency-Keys, and what must then agree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from churn.prediction import Value, derived_id
from churn.scoring import Prepared
from web_service.problems import Problem

KEY_LIMIT = 255
"""Longest Idempotency-Key, in characters."""


def check_key(key: str | None) -> None:
    """Raises Problem for an Idempotency-Key that cannot be one."""
    if key is not None and not (0 < len(key) <= KEY_LIMIT and key.isascii() and key.isprintable()):
        raise Problem("bad-request", f"Idempotency-Key: expected 1 to {KEY_LIMIT} printable ASCII characters")


def identity(record: Mapping[str, Any], contract: str, client: str, key: str | None, index: int) -> str | None:
    """The prediction_id that a repeat would have too, or None for a record that says nothing of repeats.

    An event_id wins over the header: it names the event itself, as it does on the stream. A key belongs to its
    client, so that nobody reads another's answer by guessing a key.
    """
    event_id = record.get("event_id")
    if event_id is not None:
        return derived_id("event", contract, str(event_id))
    return derived_id("key", contract, client, key, str(index)) if key is not None else None


def check_repeat(features: Mapping[str, Value], customer_id: str | None, again: Prepared) -> None:
    """Raises Problem when a key or event id comes again with other fields than it first had: one of the two requests
    would be answered wrongly."""
    differing = [name for name, value in again.cleaned.features.items() if features.get(name) != value]
    if customer_id != again.identity.customer_id:
        differing.insert(0, "customer_id")
    if differing:
        event_id = again.identity.event_id
        which = f"event_id '{event_id}'" if event_id else "the Idempotency-Key"
        detail = f"{which} was used before with another {differing[0]}; use a new one for another request"
        raise Problem("key-reused", detail, [{"field": name} for name in differing])
