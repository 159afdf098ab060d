"""The one way to an answer: what goes in is answered or refused, each record on its own, in order."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from churn.bundle import Bundle
from churn.errors import InvalidInput
from churn.prediction import Prediction, from_json, to_json
from churn.pseudonym import pseudonyms
from churn.scoring import Scorer, new_id
from tests.fakes import Clock, pseudonym_key, random_customers, records


@pytest.fixture(scope="module")
def scorer(bundle: Bundle) -> Scorer:
    return Scorer(bundle, now=Clock(), key=pseudonym_key)


@pytest.fixture(scope="module")
def customers(bundle: Bundle) -> list[dict[str, object]]:
    return records(random_customers(bundle.contract, 20, seed=4), bundle.contract)


def test_an_answer_says_which_model_and_contract_gave_it(
    scorer: Scorer, bundle: Bundle, customers: list[dict[str, object]]
) -> None:
    prediction = scorer.score_one({**customers[0], "customer_id": 42, "event_id": "e1"}, "http", "p1")

    assert prediction.prediction_id == "p1"
    assert prediction.model_run_id == bundle.run_id
    assert (prediction.contract, prediction.contract_hash) == ("credit_card", bundle.contract.hash)
    assert (prediction.customer_id, prediction.event_id) == (pseudonyms(bundle.contract, pseudonym_key)("42"), "e1")
    assert prediction.created_at == Clock().time
    assert prediction.churn is (prediction.churn_probability >= 0.5)
    assert prediction.latency_seconds > 0


def test_a_bad_record_among_good_ones_harms_nobody(scorer: Scorer, customers: list[dict[str, object]]) -> None:
    outcomes = scorer.score([customers[0], {"customer_age": "old"}, customers[1]], "stream")

    assert [type(outcome) for outcome in outcomes] == [Prediction, InvalidInput, Prediction]
    alone = scorer.score_one(customers[1], "stream")
    assert isinstance(outcomes[2], Prediction)
    assert outcomes[2].churn_probability == alone.churn_probability


def test_no_record_at_all_is_no_answer(scorer: Scorer) -> None:
    assert scorer.score([], "stream") == []


@pytest.mark.parametrize(
    ("field", "value"),
    [("customer_id", ""), ("customer_id", True), ("event_id", "x" * 201), ("event_id", 1.5), ("event_time", "now"),
     ("event_time", 7), ("customer_id", 10**20)],
)  # fmt: skip
def test_a_wrong_identity_is_named(
    scorer: Scorer, customers: list[dict[str, object]], field: str, value: object
) -> None:
    with pytest.raises(InvalidInput, match=f"{field}="):
        scorer.score_one({**customers[0], field: value}, "http")


def test_event_times_are_kept_in_utc(scorer: Scorer, customers: list[dict[str, object]]) -> None:
    prediction = scorer.score_one({**customers[0], "event_time": "2026-01-31T12:00:00+02:00"}, "http")

    assert prediction.event_time == datetime(2026, 1, 31, 10, tzinfo=UTC)


def test_a_prediction_survives_its_json(scorer: Scorer, customers: list[dict[str, object]]) -> None:
    prediction = scorer.score_one({**customers[0], "event_time": "2026-01-31T12:00:00Z"}, "http")

    assert from_json(to_json(prediction)) == prediction


def test_new_ids_are_new_in_every_thread_and_after_a_fork() -> None:
    with ThreadPoolExecutor(8) as pool:
        ids = [new_id() for _ in range(1_000)] + list(pool.map(lambda _: new_id(), range(20_000)))
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, new_id().encode())
        os._exit(0)
    ids += [new_id(), os.read(reader, 32).decode()]
    os.waitpid(child, 0)

    assert len({one[12:] for one in ids}) == len(ids)
    assert {len(one) for one in ids} == {32}
