"""Ground truth that comes in late: a body of POST /feedback -> labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from churn.errors import FieldProblem, InvalidInput
from churn.prediction import ID_LIMIT, Label, id_text
from web_service.problems import Problem, invalid_fields


def labels_of(body: Any, contract: str, now: datetime, list_limit: int, pseudonym: Callable[[str], str]) -> list[Label]:
    """The labels in an object or a list of objects, customers by their `pseudonym`, as the log has them.

    Raises Problem with every wrong field of every item.
    """
    items = body if isinstance(body, list) else [body]
    if len(items) > list_limit:
        raise Problem("too-large", f"a list of {len(items)} labels; at most {list_limit} are taken at once")
    labels, wrong = [], []
    for index, item in enumerate(items):
        try:
            labels.append(_label(item, contract, now, pseudonym))
        except InvalidInput as error:
            wrong.append((index if isinstance(body, list) else None, error))
    if wrong:
        raise invalid_fields(wrong)
    return labels


def _label(item: Any, contract: str, now: datetime, pseudonym: Callable[[str], str]) -> Label:
    if not isinstance(item, Mapping):
        raise InvalidInput([FieldProblem("body", item, "an object with prediction_id or customer_id, and churned")])
    problems: list[FieldProblem] = []
    prediction_id = _id(item, "prediction_id", problems)
    customer_id = _id(item, "customer_id", problems)
    if not problems and (prediction_id is None) == (customer_id is None):
        problems.append(FieldProblem("prediction_id", item.get("prediction_id"), "either this or customer_id"))
    churned = item.get("churned")
    if not isinstance(churned, bool):
        problems.append(FieldProblem("churned", churned, "true or false; it is required"))
    observed_at = _observed_at(item.get("observed_at"), now, problems)
    if problems:
        raise InvalidInput(problems)
    return Label(
        churned=bool(churned),
        observed_at=observed_at,
        prediction_id=prediction_id,
        customer_id=None if customer_id is None else pseudonym(customer_id),
        contract=contract,
    )


def _id(item: Mapping[str, Any], name: str, problems: list[FieldProblem]) -> str | None:
    value = item.get(name)
    found = id_text(value)
    if value is None or found is not None:
        return found
    problems.append(FieldProblem(name, value, f"text of 1 to {ID_LIMIT} characters or a whole number"))
    return None


def _observed_at(value: Any, now: datetime, problems: list[FieldProblem]) -> datetime:
    if value is None:
        return now
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        problems.append(FieldProblem("observed_at", value, "a time such as 2026-01-31T12:00:00Z"))
        return now
