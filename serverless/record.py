"""An answer as the log holds it: whose it is, what was asked, what was said. The rules: churn/scoring.py."""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from serverless.score import Artifact, InvalidRecord, Read

ID_LIMIT = 200
LARGEST_ID = 10**18
PSEUDONYM_BYTES = 16
LEAST_KEY_CHARACTERS = 32
UNTOLD = ("features", "route", "event_time", "latency_seconds")
Pseudonym = Callable[[str], str]
Document = dict[str, Any]


def identity_of(artifact: Artifact, record: Mapping[str, Any], pseudonym: Pseudonym) -> Document:
    """customer_id (as the log may hold it), event_id and event_time. Raises InvalidRecord with all that are wrong."""
    customer = record.get("customer_id")
    if customer is None:
        customer = record.get(artifact.id_column)
    found: Document = {}
    problems = []
    for name, value, convert, expected in (
        ("customer_id", customer, _id_text, f"text of 1 to {ID_LIMIT} characters or a whole number"),
        ("event_id", record.get("event_id"), _id_text, f"text of 1 to {ID_LIMIT} characters or a whole number"),
        ("event_time", record.get("event_time"), _time, "a time such as 2026-01-31T12:00:00Z"),
    ):
        if value is None:
            continue
        converted = convert(value)
        if converted is None:
            problems.append((name, value, expected))
        found[name] = converted
    if problems:
        raise InvalidRecord(problems)
    if "customer_id" in found:
        found["customer_id"] = pseudonym(found["customer_id"])
    return found


def prediction(artifact: Artifact, read: Read, answer: Mapping[str, Any], identity: Document) -> Document:
    """The record of one answer, all but its `latency_seconds`."""
    created_at = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return {
        "prediction_id": _prediction_id(answer, read.features, identity),
        "created_at": created_at,
        "route": "lambda",
        "features": read.features,
        **answer,
        **identity,
    }


def told(record: Mapping[str, Any]) -> Document:
    """What of a record its caller gets."""
    return {name: value for name, value in record.items() if name not in UNTOLD}


def pseudonyms(contract: str, key: str) -> Pseudonym:
    """Id -> pseudonym, the same as in every other room that has this key."""
    own_key = hmac.digest(key.strip().encode(), f"churnwatch/customer_id/{contract}".encode(), "sha256")
    return lambda customer_id: hmac.digest(own_key, customer_id.encode(), "sha256")[:PSEUDONYM_BYTES].hex()


def _prediction_id(answer: Mapping[str, Any], features: Document, identity: Document) -> str:
    """With an event_id, a repeat of the same question to the same model repeats the id, and is logged once. Another
    question or another model is another prediction: no answer is ever given that the log tells otherwise."""
    if "event_id" not in identity:
        return uuid.uuid4().hex
    asked = json.dumps([answer["contract"], answer["model_run_id"], features, identity["event_id"]])
    return hashlib.sha256(f"lambda:{asked}".encode()).hexdigest()[:32]


def _id_text(value: object) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < LARGEST_ID:
        return str(value)
    return value if isinstance(value, str) and 0 < len(value) <= ID_LIMIT else None


def _time(value: object) -> str | None:
    try:
        moment = datetime.fromisoformat(value)  # type: ignore[arg-type]
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
    except (TypeError, ValueError, OverflowError):
        return None
