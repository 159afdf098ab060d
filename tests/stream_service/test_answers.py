"""Answers that Lambda functions kept on a stream reach the log, each once; what is no answer is set aside."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from churn.bundle import Bundle
from churn.prediction import Prediction, to_json
from churn.scoring import Scorer
from stream_service.answers import ShippingParts, no_scorer, read_answer, shipping
from stream_service.service import Service
from tests.fakes import pseudonym_key, random_customers, records
from tests.stream_service.conftest import World


@pytest.fixture
def given(world: World) -> list[Prediction]:
    """Thirty answers on the stream, two of them twice: a function that was not told of its success tries again."""
    outcomes = Scorer(world.bundle, key=pseudonym_key).score(world.customers[:30], "lambda")
    predictions = [outcome for outcome in outcomes if isinstance(outcome, Prediction)]
    world.kinesis.ensure("answers", 2)
    for one in [*predictions, *predictions[:2]]:
        world.client.put("answers", one.prediction_id, to_json(one))
    return predictions


@pytest.fixture
def ship(world: World) -> Callable[[], None]:
    def run() -> None:
        world.client.now = lambda: datetime.now(UTC)
        made = world.make_parts(current_scorer=no_scorer)
        parts = ShippingParts(made.kinesis, made.store, no_scorer, made.metrics, made.answers, made.health)
        quick = {"lease_seconds": 2.0, "stream_poll_seconds": 0.2, "batch_seconds": 0.01}
        Service(shipping(world.settings).model_copy(update=quick), parts, "shipper").run(once=True)

    return run


def test_every_answer_is_logged_once_as_it_was_given(
    world: World, given: list[Prediction], ship: Callable[[], None]
) -> None:
    ship()
    ship()

    assert world.store.count(route="lambda") == len(given) == 30
    assert world.store.get_many([one.prediction_id for one in given]) == {one.prediction_id: one for one in given}
    assert world.results() == []
    run_id = world.bundle.run_id
    assert world.sample("predictions_total", route="lambda", model_run_id=run_id, outcome="answered") == 32


def test_what_is_no_answer_is_set_aside_and_blocks_nothing(
    world: World, given: list[Prediction], ship: Callable[[], None]
) -> None:
    world.client.put("answers", "a", b"\xff")
    world.client.put("answers", "b", b'{"prediction_id": 7}')

    ship()

    assert sorted(letter["reason"] for letter in world.dead_letters()) == ["not_json", "wrong_fields"]
    assert world.store.count() == 30


def test_a_time_without_its_zone_is_no_answer(bundle: Bundle) -> None:
    record = records(random_customers(bundle.contract, 1), bundle.contract)[0]
    answer = Scorer(bundle, key=pseudonym_key).score_one(record, "lambda")
    document = json.loads(to_json(answer)) | {"created_at": "2026-01-31T12:00:00"}

    assert "without its zone" in str(read_answer(json.dumps(document).encode()))
