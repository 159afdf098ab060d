"""Bytes of a stream -> predictions or refusals: the same for our consumer and for Lambda.

What can never succeed comes back as a Refusal, with a reason that a metric may carry; nothing here raises for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import orjson
import structlog

from churn.errors import InvalidInput
from churn.prediction import Prediction, Route, derived_id, event_ids
from churn.scoring import Scorer

Reason = Literal["not_json", "not_an_object", "too_large", "wrong_fields", "bad_aggregate", "scoring_failed"]

log = structlog.get_logger()


class Refusal(NamedTuple):
    """Why a record can never be scored. `detail` may quote the record: not for logs."""

    reason: Reason
    detail: str


class RawRecord(NamedTuple):
    """`place` is what makes a redelivery the same record; it stands in for an event_id that is not there."""

    data: bytes
    place: tuple[str, ...]


def score_raw(
    scorer: Scorer, records: Sequence[RawRecord], route: Route, longest_bytes: int
) -> list[Prediction | Refusal]:
    """Answer each record, in order, all valid ones in one call of the model.

    A record's prediction_id is derived from its event_id, else from its place: a repeat repeats it.
    """
    outcomes: list[Any] = [_decode(record.data, longest_bytes) for record in records]
    decoded = [index for index, outcome in enumerate(outcomes) if type(outcome) is dict]
    fields = [outcomes[index] for index in decoded]
    ids = _identities(scorer.bundle.contract.name, fields, [records[index].place for index in decoded])
    for index, outcome in zip(decoded, _score(scorer, fields, route, ids), strict=True):
        outcomes[index] = outcome if type(outcome) is Prediction else _refusal(outcome)
    return outcomes


def _decode(data: bytes, longest_bytes: int) -> dict[str, Any] | Refusal:
    if len(data) > longest_bytes:
        return Refusal("too_large", f"{len(data)} bytes: expected at most {longest_bytes}")
    try:
        fields = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        return Refusal("not_json", str(error))
    if type(fields) is not dict:
        return Refusal("not_an_object", f"a JSON {type(fields).__name__}: expected an object of fields")
    return fields


def _identities(contract: str, fields: list[dict[str, Any]], places: list[tuple[str, ...]]) -> list[str]:
    of_event = event_ids(contract)
    return [
        derived_id(*place) if (event_id := one.get("event_id")) is None else of_event(str(event_id))
        for one, place in zip(fields, places, strict=True)
    ]


def _refusal(outcome: InvalidInput | Refusal) -> Refusal:
    return outcome if isinstance(outcome, Refusal) else Refusal("wrong_fields", str(outcome))


def _score(scorer: Scorer, fields: list[dict[str, Any]], route: Route, ids: list[str]) -> list[Any]:
    """As `Scorer.score`; where the whole batch fails, record by record, so that one cannot block the others."""
    try:
        return list(scorer.score(fields, route, ids))
    except Exception:
        log.exception("batch_scoring_failed", records=len(fields))
        return [_score_alone(scorer, one, route, identity) for one, identity in zip(fields, ids, strict=True)]


def _score_alone(scorer: Scorer, fields: dict[str, Any], route: Route, identity: str) -> Any:
    try:
        return scorer.score([fields], route, [identity])[0]
    except Exception as error:  # whatever it is, it is this record's: set it aside and let the others pass
        return Refusal("scoring_failed", f"{type(error).__name__}: {error}")
