"""Where an id comes in over HTTP, its pseudonym goes on: to the log, the online view and the labels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from churn.bundle import Bundle
from churn.prediction import Label
from churn.pseudonym import pseudonyms
from churn.store.interface import Customer
from tests.fakes import Clock, pseudonym_key


@pytest.fixture
def bundle(bundle: Bundle) -> Bundle:
    return replace(bundle, contract=replace(bundle.contract, pseudonymise=("customer_id",)))


@pytest.fixture
def pseudonym(bundle: Bundle) -> str:
    return pseudonyms(bundle.contract, pseudonym_key)("c-1")


def test_a_customer_of_the_online_view_is_found_by_the_id_as_sent(
    client: Any, store: Any, journal: Any, customer: dict[str, Any], pseudonym: str
) -> None:
    store.put_customers("credit_card", [Customer(pseudonym, customer, Clock().time)])

    response = client.post("/predict/by-id", json=[{"customer_id": "c-1"}, {"customer_id": "c-1", "customer_age": 50}])

    assert response.status_code == 200
    assert [answer["customer_id"] for answer in response.get_json()] == [pseudonym, pseudonym]
    assert [prediction.customer_id for prediction in journal.predictions] == [pseudonym, pseudonym]


def test_a_customer_who_is_not_known_is_named_as_sent(client: Any) -> None:
    response = client.post("/predict/by-id", json={"customer_id": "nobody"})

    assert response.status_code == 404
    assert "no features of customer 'nobody'" in response.get_json()["detail"]


def test_feedback_by_customer_meets_the_predictions_of_the_log(
    client: Any, store: Any, journal: Any, clock: Clock, customer: dict[str, Any], pseudonym: str
) -> None:
    client.post("/predict", json={**customer, "customer_id": "c-1"})
    store.save(journal.predictions)
    clock.advance(60)

    counts = client.post("/feedback", json={"customer_id": "c-1", "churned": True}).get_json()

    assert counts == {"matched": 1, "changed": 0, "unknown": 0}
    (found,) = store.labelled("credit_card", None, Clock().time, clock.time)
    assert found[1] == Label(
        churned=True, observed_at=clock.time, customer_id=pseudonym, contract="credit_card", prediction_id=None
    )


def test_a_repeated_event_is_the_same_event(client: Any, customer: dict[str, Any], pseudonym: str) -> None:
    sent = {**customer, "customer_id": "c-1", "event_id": "e-1"}
    first, again = (client.post("/predict", json=sent).get_json() for _ in range(2))

    assert first == again
    assert first["customer_id"] == pseudonym
