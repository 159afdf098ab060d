"""Who and what a record is about: its customer, its event and the event's time, as a Prediction holds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from churn.errors import FieldProblem, InvalidInput
from churn.prediction import ID_LIMIT, id_text
from churn.uniform import UniformRecords


class Identity(NamedTuple):
    """`customer_id` is a pseudonym where the contract asks for one; a time is in UTC."""

    customer_id: str | None
    event_id: str | None
    event_time: datetime | None


NOBODY = Identity(None, None, None)
_NOTHING = (None, None, None)


def read_identity(fields: Mapping[str, Any], id_column: str, pseudonym: Callable[[str], str]) -> Identity:
    """What a record says of itself. Raises InvalidInput with all three faults, not only the first."""
    customer = fields.get("customer_id")
    if customer is None:
        customer = fields.get(id_column)
    event_id, event_time = fields.get("event_id"), fields.get("event_time")
    if customer is None and event_id is None and event_time is None:
        return NOBODY
    return _identity(customer, event_id, event_time, pseudonym)


def read_identities(
    records: Sequence[Mapping[str, Any]], id_column: str, pseudonym: Callable[[str], str]
) -> list[Identity | None]:
    """`read_identity` of each; None for a record where it would raise."""
    if not isinstance(records, UniformRecords):
        return [_or_none(read_identity, fields, id_column, pseudonym) for fields in records]
    customers = records.column("customer_id")
    if None in customers:
        own = records.column(id_column)
        customers = [other if customer is None else customer for customer, other in zip(customers, own, strict=True)]
    rows = zip(customers, records.column("event_id"), records.column("event_time"), strict=True)
    return [NOBODY if row == _NOTHING else _or_none(_identity, *row, pseudonym) for row in rows]


def _or_none(read: Callable[..., Identity], *arguments: Any) -> Identity | None:
    try:
        return read(*arguments)
    except InvalidInput:
        return None


def _identity(customer: Any, event_id: Any, event_time: Any, pseudonym: Callable[[str], str]) -> Identity:
    try:
        customer = _text("customer_id", customer)
        return Identity(
            None if customer is None else pseudonym(customer),
            _text("event_id", event_id),
            _time("event_time", event_time),
        )
    except InvalidInput:
        raise InvalidInput(_problems(customer, event_id, event_time)) from None


def _problems(customer: Any, event_id: Any, event_time: Any) -> list[FieldProblem]:
    problems: list[FieldProblem] = []
    readers: tuple[tuple[str, Any, Callable[[str, Any], Any]], ...] = (
        ("customer_id", customer, _text),
        ("event_id", event_id, _text),
        ("event_time", event_time, _time),
    )
    for name, value, read in readers:
        try:
            read(name, value)
        except InvalidInput as error:
            problems.extend(error.problems)
    return problems


def _text(name: str, value: Any) -> str | None:
    if type(value) is str and 0 < len(value) <= ID_LIMIT:
        return value
    if value is None:
        return None
    text = id_text(value)
    if text is None:
        raise InvalidInput([FieldProblem(name, value, f"text of 1 to {ID_LIMIT} characters or a whole number")])
    return text


def _time(name: str, value: Any) -> datetime | None:
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        expected = "a time such as 2026-01-31T12:00:00Z"
        raise InvalidInput([FieldProblem(name, value, expected)]) from None
