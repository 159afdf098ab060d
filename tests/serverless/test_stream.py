"""The Lambda for a Kinesis event source mapping: answers as the service, honest about what is unfinished."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from churn.bundle import Bundle
from churn.errors import StoreUnavailable
from churn.metrics import AnswerMetrics, StreamMetrics
from churn.prediction import derived_id
from churn.scoring import Scorer
from churn.settings import StreamSettings
from churn.store import PredictionStore, open_store
from serverless.stream import Carry, carry_with, handle
from stream_service.health import Health
from stream_service.kinesis import Kinesis
from stream_service.parts import Parts
from tests.fake_kinesis import FakeKinesisClient
from tests.fakes import Clock, pseudonym_key

EVENT = json.loads((Path(__file__).resolve().parents[2] / "serverless" / "events" / "kinesis.json").read_text())


class Account:
    """What a deployed function finds: streams, a store, a model."""

    def __init__(self, store: PredictionStore, bundle: Bundle) -> None:
        self.client = FakeKinesisClient(Clock())
        kinesis = Kinesis(self.client)
        for stream in ("predictions", "results", "dead-letters"):
            kinesis.ensure(stream, 1)
        self.store, self.bundle, self.kinesis = store, bundle, kinesis

    def carry(self, store: Any = None) -> Carry:
        metrics = StreamMetrics(CollectorRegistry())
        parts = Parts(
            kinesis=self.kinesis,
            store=store or self.store,
            current_scorer=lambda: Scorer(self.bundle, Clock(), pseudonym_key),
            metrics=metrics,
            answers=AnswerMetrics(CollectorRegistry()),
            health=Health(metrics, 300.0),
            monotonic=time.monotonic,
            random=Random(1),
        )
        return carry_with(parts, StreamSettings())

    def found(self, stream: str) -> list[dict[str, Any]]:
        return [json.loads(data) for data in self.client.records(stream)]


class StoreThatIsAway:
    """Takes nothing."""

    def save(self, predictions: Any) -> Any:
        raise StoreUnavailable("the store is away")


@pytest.fixture
def account(tmp_path: Path, bundle: Bundle) -> Iterator[Account]:
    store = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    store.check()
    yield Account(store, bundle)
    store.close()


def test_the_sample_event_is_answered_logged_and_its_poison_set_aside(account: Account) -> None:
    answer = handle(EVENT, 10.0, account.carry())

    identity = derived_id("event", "credit_card", "sample-1")
    assert answer == {"batchItemFailures": []}
    assert [result["prediction_id"] for result in account.found("results")] == [identity]
    assert account.store.get(identity) is not None
    assert [letter["reason"] for letter in account.found("dead-letters")] == ["not_json"]


def test_a_redelivery_repeats_the_same_prediction_and_logs_nothing_more(account: Account) -> None:
    carry = account.carry()

    handle(EVENT, 10.0, carry)
    handle(EVENT, 10.0, carry)

    first, second = account.found("results")
    assert first == second
    assert account.store.count() == 1


def test_an_outage_asks_for_the_batch_again_from_its_first_record(account: Account) -> None:
    answer = handle(EVENT, 0.3, account.carry(StoreThatIsAway()))

    first = EVENT["Records"][0]["kinesis"]["sequenceNumber"]
    assert answer == {"batchItemFailures": [{"itemIdentifier": first}]}
    assert account.found("results") == []
    assert handle(EVENT, 10.0, account.carry()) == {"batchItemFailures": []}
    assert account.store.count() == 1
