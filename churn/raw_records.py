"""Bytes of a stream -> predictions or refusals: the same for our consumer and for Lambda.

What can never succeed comes back as a Refusal, with a reason that a metric may carry; nothing here raises for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import orjson
import structlog

from churn.errors import InvalidInput
from churn.prediction import Prediction, Route, derived_id, event_ids
from churn.scoring import COLUMNWISE_FROM, Scorer
from churn.uniform import UniformRecords, read_uniform_documents

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
    uniform = _uniform(records, longest_bytes)
    if uniform is not None:
        ids = _identities(scorer.bundle.contract.name, uniform.column("event_id"), [one.place for one in records])
        return [_outcome(outcome) for outcome in _score(scorer, uniform, route, ids)]
    outcomes: list[Any] = [_decode(record.data, longest_bytes) for record in records]
    decoded = [index for index, outcome in enumerate(outcomes) if type(outcome) is dict]
    fields = [outcomes[index] for index in decoded]
    events = [one.get("event_id") for one in fields]
    ids = _identities(scorer.bundle.contract.name, events, [records[index].place for index in decoded])
    for index, outcome in zip(decoded, _score(scorer, fields, route, ids), strict=True):
        outcomes[index] = _outcome(outcome)
    return outcomes


def _uniform(records: Sequence[RawRecord], longest_bytes: int) -> UniformRecords | None:
    """The records by columns where that is quicker and they allow it: as those of one producer do."""
    documents = [record.data for record in records]
    if len(documents) < COLUMNWISE_FROM or max(map(len, documents)) > longest_bytes:
        return None
    return read_uniform_documents(documents)


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


def _identities(contract: str, events: Sequence[Any], places: Sequence[tuple[str, ...]]) -> list[str]:
    of_event = event_ids(contract)
    return [
        derived_id(*place) if event_id is None else of_event(str(event_id))
        for event_id, place in zip(events, places, strict=True)
    ]


def _outcome(outcome: Prediction | InvalidInput | Refusal) -> Prediction | Refusal:
    return Refusal("wrong_fields", str(outcome)) if isinstance(outcome, InvalidInput) else outcome


def _score(scorer: Scorer, fields: Sequence[Mapping[str, Any]], route: Route, ids: Sequence[str]) -> list[Any]:
    """As `Scorer.score`; where the whole batch fails, record by record, so that one cannot block the others."""
    try:
        return list(scorer.score(fields, route, ids))
    except Exception:
        log.exception("batch_scoring_failed", records=len(fields))
        return [_score_alone(scorer, one, route, identity) for one, identity in zip(fields, ids, strict=True)]


def _score_alone(scorer: Scorer, fields: Mapping[str, Any], route: Route, identity: str) -> Any:
    try:
        return scorer.score([fields], route, [identity])[0]
    except Exception as error:  # whatever it is, it is this record's: set it aside and let the others pass
        return Refusal("scoring_failed", f"{type(error).__name__}: {error}")
