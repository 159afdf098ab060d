"""A retry gets the first answer and is logged once: by event_id, by Idempotency-Key, in lists, over workers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from prometheus_client import CollectorRegistry

from churn.bundle import Bundle
from churn.journal import Idempotency, Journal, Shipper
from churn.metrics import AnswerMetrics, ModelMetrics
from churn.serving import ServingModel
from churn.store.interface import PredictionStore
from tests.fakes import Clock, pseudonym_key
from web_service.service import PredictionService


class Worker:
    """One process's service on a journal folder that others share."""

    def __init__(self, bundle: Bundle, directory: Path, store: PredictionStore) -> None:
        registry = CollectorRegistry()
        self.clock = Clock()
        self.journal = Journal(directory)
        self.shipper = Shipper(self.journal, store)
        self.service = PredictionService(
            ServingModel(bundle, "a test asked for it", ModelMetrics(registry), self.clock, pseudonym_key),
            self.journal,
            Idempotency(directory, store.get_many),
            AnswerMetrics(registry),
            list_limit=100,
        )


@pytest.fixture
def workers(bundle: Bundle, tmp_path: Path, store: PredictionStore) -> Iterator[list[Worker]]:
    workers = [Worker(bundle, tmp_path / "journal", store) for _ in range(2)]
    workers[1].clock.advance(60)
    yield workers
    for worker in workers:
        worker.journal.close()


@pytest.fixture
def client(workers: list[Worker], make_app: Any) -> Any:
    return make_app(service=workers[0].service).test_client()


@pytest.fixture
def other(workers: list[Worker], make_app: Any) -> Any:
    return make_app(service=workers[1].service).test_client()


KEY = {"Idempotency-Key": "order-17"}


def test_a_retry_with_the_key_gets_the_first_answer(client: Any, customer: dict[str, Any], workers: Any) -> None:
    first = client.post("/predict", json=customer, headers=KEY)
    workers[0].clock.advance(5)
    again = client.post("/predict", json=customer, headers=KEY)

    assert again.data == first.data
    assert workers[0].journal.stats().accepted == 1


def test_another_worker_gives_the_first_answer(client: Any, other: Any, customer: dict[str, Any], workers: Any) -> None:
    first = client.post("/predict", json={**customer, "event_id": "e-1"})
    again = other.post("/predict", json={**customer, "event_id": "e-1"})

    assert again.data == first.data
    assert workers[1].journal.stats().accepted == 0


def test_the_first_answer_is_found_in_the_store(
    client: Any, other: Any, customer: dict[str, Any], workers: Any, store: PredictionStore
) -> None:
    first = client.post("/predict", json=customer, headers=KEY)
    workers[0].shipper.ship_once()
    workers[0].journal.close(1)

    assert store.count() == 1
    assert other.post("/predict", json=customer, headers=KEY).data == first.data


def test_a_list_mixes_repeats_and_news(client: Any, customers: list[dict[str, Any]], workers: Any) -> None:
    first = client.post("/predict", json={**customers[0], "event_id": 1}).get_json()
    body = [{**customers[0], "event_id": "1"}, customers[1], {**customers[2], "event_id": 2}]

    answers = client.post("/predict", json=[*body, body[2]]).get_json()

    assert answers[0] == first
    assert answers[3] == answers[2]
    assert workers[0].journal.stats().accepted == 3


def test_a_list_repeats_as_a_whole_by_its_key(client: Any, customers: list[dict[str, Any]], workers: Any) -> None:
    first = client.post("/predict", json=customers, headers=KEY)

    assert client.post("/predict", json=customers, headers=KEY).data == first.data
    assert workers[0].journal.stats().accepted == len(customers)


def test_a_key_with_other_fields_is_refused(client: Any, customers: list[dict[str, Any]]) -> None:
    client.post("/predict", json=customers[0], headers=KEY)

    response = client.post("/predict", json={**customers[0], "customer_age": 99}, headers=KEY)

    assert response.status_code == 422
    assert response.get_json()["type"] == "urn:churnwatch:problem:key-reused"
    assert response.get_json()["errors"] == [{"field": "customer_age"}]


def test_a_list_that_contradicts_itself_is_refused_and_not_logged(
    client: Any, customers: list[dict[str, Any]], workers: Any
) -> None:
    body = [{**customers[0], "event_id": "e"}, {**customers[1], "event_id": "e"}]

    assert client.post("/predict", json=body).status_code == 422
    assert workers[0].journal.stats().accepted == 0


@pytest.mark.parametrize("key", ["", "x" * 256, "\u00e9"])
def test_a_key_that_cannot_be_one_is_refused(client: Any, customer: dict[str, Any], key: str) -> None:
    response = client.post("/predict", json=customer, headers={"Idempotency-Key": key})

    assert response.status_code == 400


def test_without_a_key_the_same_customer_is_two_predictions(client: Any, customer: dict[str, Any]) -> None:
    ids = {client.post("/predict", json=customer).get_json()["prediction_id"] for _ in range(2)}

    assert len(ids) == 2


def test_a_long_list_repeated_in_part_gets_its_first_answers(
    client: Any, other: Any, customers: list[dict[str, Any]], workers: list[Worker]
) -> None:
    rows = [{**customers[number % len(customers)], "event_id": f"e{number}"} for number in range(100)]
    first = client.post("/predict", data=orjson.dumps(rows[:60]), content_type="application/json").get_json()

    again = other.post("/predict", data=orjson.dumps(rows), content_type="application/json").get_json()

    assert again[:60] == first
    assert len({answer["prediction_id"] for answer in again}) == 100
    assert [worker.journal.stats().accepted for worker in workers] == [60, 40]
