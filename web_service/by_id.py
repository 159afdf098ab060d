"""Customer ids -> records to score: the newest features that the store knows of each customer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from churn.encoder import ENVELOPE
from churn.errors import FieldProblem, InvalidInput
from churn.prediction import id_text
from churn.store.interface import PredictionStore
from web_service.problems import Problem, invalid_fields

LIST_LIMIT = 1_000
"""Most customers a request: each is a read of the store."""


def records_by_id(body: Any, contract: str, store: PredictionStore, pseudonym: Callable[[str], str]) -> Any:
    """The body with each customer's features filled in: an object for an object, a list for a list.

    The store knows customers by their `pseudonym`; the records keep the id as sent, which scoring turns into one.
    A field that the caller sends beside the id wins over the stored one ("what if"). Raises Problem (wrong ids, or
    customers that are not known, each named) and StoreUnavailable.
    """
    if isinstance(body, list):
        if len(body) > LIST_LIMIT:
            raise Problem("too-large", f"a list of {len(body)} customers; at most {LIST_LIMIT} are taken at once")
        return _filled(list(enumerate(body)), contract, store, pseudonym)
    return _filled([(None, body)], contract, store, pseudonym)[0]


def _filled(
    items: list[tuple[int | None, Any]], contract: str, store: PredictionStore, pseudonym: Callable[[str], str]
) -> list[dict[str, Any]]:
    ids = [_customer_id(item) for _, item in items]
    wrong = [(index, found) for (index, _), found in zip(items, ids, strict=True) if isinstance(found, InvalidInput)]
    if wrong:
        raise invalid_fields(wrong)
    records, unknown = [], []
    for (index, item), customer_id in zip(items, ids, strict=True):
        customer = store.customer(contract, pseudonym(str(customer_id)))
        if customer is None:
            unknown.append(
                {"index": index, "customer_id": customer_id} if index is not None else {"customer_id": customer_id}
            )
        else:
            records.append({**customer.features, **item, "customer_id": customer_id})
    if unknown:
        detail = f"no features of customer '{unknown[0]['customer_id']}' in contract {contract}; ingest them first"
        raise Problem("customer-unknown", detail, unknown)
    return records


def _customer_id(item: Any) -> str | InvalidInput:
    value = item.get(ENVELOPE[0]) if isinstance(item, Mapping) else None
    customer_id = id_text(value)
    if customer_id is not None:
        return customer_id
    return InvalidInput([FieldProblem("customer_id", value, "a customer's id: text or a whole number; it is required")])
