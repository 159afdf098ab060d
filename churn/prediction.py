"""Prediction: the record of one answer, the same in HTTP, stream, journal, store and report."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Literal

import msgspec
from msgspec import UNSET

Route = Literal["http", "stream", "batch", "lambda"]
Value = float | int | str | bool | None
"""A cleaned field: a number, an ordinal's or category's level by name, true/false, or None for missing."""

ID_LIMIT = 200
"""Longest id of a customer or event, in characters."""
LARGEST_ID = 10**18
"""An id that is a number is smaller than this, so that no JSON library has rounded it."""


class Prediction(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One answer of one model. `prediction_id` is its identity everywhere: a repeat of an id is the same prediction.

    `features` holds the fields as received and cleaned, by the contract's names; a missing or unknown one is None.
    Times are UTC. `churn_probability` is calibrated; `churn` says that it reached `threshold`,
    and `churn_label` says the same in the contract's word (None in records of before there was one).
    """

    # gc=False: values that cannot form a cycle. A list of 10,000 would else set off a look through all of them.

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
    churn_label: str | None = None
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


UNKNOWN_LEVEL = "(unknown)"
"""Stands for a level that was not listed, where a logged record is asked again: the log does not keep the text."""


def as_asked(prediction: Prediction) -> dict[str, Value]:
    """The features of a record so that they are cleaned as they were the first time: unknown, not missing."""
    if not prediction.unknown:
        return prediction.features
    return prediction.features | dict.fromkeys(prediction.unknown, UNKNOWN_LEVEL)


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
    return _digest("".join(f"{len(part)}:{part}" for part in parts))


def event_ids(contract: str) -> Callable[[str], str]:
    """`derived_id("event", contract, event_id)` of many event ids of one contract, in half the time."""
    prefix = f"5:event{len(contract)}:{contract}"
    return lambda event_id: _digest(f"{prefix}{len(event_id)}:{event_id}")


def _digest(framed: str) -> str:
    # An identity, no secret: said so, the library takes a third less time.
    return hashlib.sha256(framed.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()[:32]


def id_text(value: object) -> str | None:
    """An id as records hold it: text as it is, a whole number as its digits. None for what cannot be an id."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < LARGEST_ID:
        return str(value)
    return value if isinstance(value, str) and 0 < len(value) <= ID_LIMIT else None


class _Answer(msgspec.Struct, gc=False):
    """What `answer_json` writes; what is unset is left out."""

    prediction_id: str
    churn_probability: float
    churn: bool
    threshold: float
    model_run_id: str
    contract: str
    contract_hash: str
    created_at: datetime
    missing: tuple[str, ...]
    unknown: tuple[str, ...]
    ignored: int
    churn_label: str | msgspec.UnsetType
    customer_id: str | msgspec.UnsetType
    event_id: str | msgspec.UnsetType
    route: Route | msgspec.UnsetType


def answer_json(prediction: Prediction, route: Route | msgspec.UnsetType = UNSET) -> bytes:
    """What a caller gets, as JSON: all of the record but its features and bookkeeping; times as RFC 3339 in UTC."""
    return _encoder.encode(_answer(prediction, route))


def answers_json(predictions: Iterable[Prediction]) -> bytes:
    """A JSON list of what `answer_json` writes."""
    return _encoder.encode([_answer(prediction) for prediction in predictions])


def _answer(prediction: Prediction, route: Route | msgspec.UnsetType = UNSET) -> _Answer:
    created_at, label = prediction.created_at, prediction.churn_label
    customer_id, event_id = prediction.customer_id, prediction.event_id
    return _Answer(
        prediction.prediction_id,
        prediction.churn_probability,
        prediction.churn,
        prediction.threshold,
        prediction.model_run_id,
        prediction.contract,
        prediction.contract_hash,
        created_at if created_at.tzinfo is UTC else created_at.astimezone(UTC),
        prediction.missing,
        prediction.unknown,
        prediction.ignored,
        UNSET if label is None else label,
        UNSET if customer_id is None else customer_id,
        UNSET if event_id is None else event_id,
        route,
    )
