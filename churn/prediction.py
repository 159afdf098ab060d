"""Prediction: the record of one answer, the same in HTTP, stream, journal, store and report."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

Route = Literal["http", "stream", "batch", "lambda"]
Value = float | int | str | bool | None
"""A cleaned field: a number, an ordinal's or category's level by name, true/false, or None for missing."""


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """One answer of one model. `prediction_id` is its identity everywhere: a repeat of an id is the same prediction.

    `features` holds the fields as received and cleaned, by the contract's names; a missing or unknown one is None.
    Times are UTC. `churn_probability` is calibrated; `churn` says that it reached `threshold`.
    """

    prediction_id: str
    created_at: datetime
    contract: str
    contract_hash: str
    model_run_id: str
    route: Route
    features: dict[str, Value]
    missing: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    ignored: int = 0
    churn_probability: float
    churn: bool
    threshold: float
    latency_seconds: float
    customer_id: str | None = None
    event_id: str | None = None
    event_time: datetime | None = None


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """Ground truth that came in late, for one prediction or for every prediction of a customer so far."""

    churned: bool
    observed_at: datetime
    prediction_id: str | None = None
    customer_id: str | None = None
    contract: str | None = None


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Prediction)


def to_json(prediction: Prediction) -> bytes:
    """One line of JSON without a line end, times as RFC 3339 in UTC."""
    return _encoder.encode(prediction)


def from_json(payload: bytes) -> Prediction:
    """The inverse of `to_json`. Raises msgspec.ValidationError on anything else."""
    return _decoder.decode(payload)


def derived_id(*parts: str) -> str:
    """A prediction_id (32 hex digits) that the same parts always give, so that a repeat repeats an identity.

    Doors derive alike: `derived_id("event", contract, event_id)` where a record carries an event_id.
    """
    framed = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(framed.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def answer(prediction: Prediction) -> dict[str, Any]:
    """What a caller gets: all of the record but its features and bookkeeping. JSON-like, time as RFC 3339 in UTC."""
    document: dict[str, Any] = {
        "prediction_id": prediction.prediction_id,
        "churn_probability": prediction.churn_probability,
        "churn": prediction.churn,
        "threshold": prediction.threshold,
        "model_run_id": prediction.model_run_id,
        "contract": prediction.contract,
        "contract_hash": prediction.contract_hash,
        "created_at": prediction.created_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "missing": list(prediction.missing),
        "unknown": list(prediction.unknown),
        "ignored": prediction.ignored,
    }
    if prediction.customer_id is not None:
        document["customer_id"] = prediction.customer_id
    if prediction.event_id is not None:
        document["event_id"] = prediction.event_id
    return document
