"""What both homes share: exact times, sampling draws, order of sequence numbers, documents that survive NaN."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import structlog

from churn.errors import FieldProblem, InvalidInput, LeaseLost
from churn.prediction import Prediction
from churn.store.interface import Lease, ShardState

log = structlog.get_logger()

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def microseconds(time: datetime) -> int:
    """Microseconds since 1970, exact. Raises TypeError for a time without a zone."""
    return (time - EPOCH) // MICROSECOND


def from_microseconds(value: int) -> datetime:
    """The moment in UTC of microseconds since 1970."""
    return EPOCH + timedelta(microseconds=value)


def draw(prediction_id: str) -> int:
    """A number from 0 to 2^48, uniform over ids and always the same for one: the smallest draws are a fair sample."""
    return int.from_bytes(hashlib.blake2b(prediction_id.encode(), digest_size=6).digest(), "big")


def sequence_order(sequence_number: str) -> str:
    """Text that sorts as the number does: Kinesis sequence numbers are integers of up to 128 digits."""
    if not (sequence_number.isascii() and sequence_number.isdigit() and len(sequence_number) <= 128):
        raise InvalidInput([FieldProblem("sequence_number", sequence_number, "1 to 128 digits")])
    digits = sequence_number.lstrip("0")
    return f"{len(digits):03d}{digits}"


def document_text(document: Mapping[str, Any]) -> str:
    """JSON for keeping: NaN and infinities become null, numpy's numbers plain ones, times RFC 3339."""
    return msgspec.json.encode(document, enc_hook=_plain).decode()


def restored(fields: dict[str, Any]) -> Prediction | None:
    """A prediction from a stored document. A score that was not a number reads as NaN; None when beyond reading."""
    for name in ("churn_probability", "threshold", "latency_seconds"):
        if fields.get(name) is None:
            fields[name] = math.nan
    try:
        return msgspec.convert(fields, Prediction)
    except msgspec.ValidationError as error:
        log.warning("stored_prediction_unreadable", prediction_id=fields.get("prediction_id"), reason=str(error))
        return None


def finite(features: Mapping[str, Any]) -> dict[str, Any]:
    """Features as JSON would keep them: NaN and infinities are missing values."""
    return {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in features.items()}


def shard_state(
    shard_id: str,
    owner: str | None,
    token: int,
    expires: int | None,
    sequence_number: str | None,
    checkpointed: int | None,
    finished: bool,
) -> ShardState:
    """A shard's state from its stored columns, times in microseconds."""
    return ShardState(
        shard_id=shard_id,
        owner=owner,
        token=token,
        expires_at=None if owner is None or expires is None else from_microseconds(expires),
        sequence_number=sequence_number,
        checkpointed_at=None if checkpointed is None else from_microseconds(checkpointed),
        finished=bool(finished),
    )


def lost(lease: Lease) -> LeaseLost:
    return LeaseLost(
        f"shard {lease.shard_id}: the lease of {lease.owner} (token {lease.token}) is no longer the newest; "
        "another worker goes on from the checkpoint"
    )


def _plain(value: object) -> Any:
    """numpy scalars and arrays know their plain form; anything else is a programming error."""
    for method in ("tolist", "isoformat"):
        if hasattr(value, method):
            return getattr(value, method)()
    raise TypeError(f"a document cannot hold {type(value).__name__}")
