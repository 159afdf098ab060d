"""What every home for predictions must do: the same tests on SQLite and on MongoDB (or a server of its wire)."""

from __future__ import annotations

import math
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from churn.errors import InvalidInput, LeaseLost
from churn.prediction import Label, Prediction
from churn.store import PredictionStore, open_store
from churn.store.interface import Customer, Labelled, Saved
from churn.store.transactions import Transaction

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


# Where MONGODB_URI is not set, tests/conftest.py says once, at the end, that MongoDB was left out.
MONGODB = [pytest.param("mongodb", marks=pytest.mark.integration)] if os.environ.get("MONGODB_URI") else []


@pytest.fixture(scope="module", params=["sqlite", *MONGODB])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PredictionStore]:
    """One home a module: tests keep apart by contract, consumer and kind, which are random."""
    if request.param == "sqlite":
        store = open_store(f"sqlite:///{tmp_path_factory.mktemp('store') / 'store.db'}")
        store.check()
        yield store
        store.close()
        return
    address = os.environ["MONGODB_URI"]
    from pymongo import MongoClient

    name = f"churnwatch_test_{uuid.uuid4().hex[:8]}"
    # Fifteen seconds: the wire-compatible server builds an index in one to three, and others use it meanwhile.
    store = open_store(f"{address.rstrip('/')}/{name}", timeout_seconds=15, retention_days={"kept_for_a_day": 1})
    store.check()
    yield store
    store.close()
    with MongoClient[dict[str, Any]](address) as client:
        client.drop_database(name)


@pytest.fixture
def contract() -> str:
    return f"contract_{uuid.uuid4().hex[:8]}"


Make = Callable[..., Prediction]


@pytest.fixture
def make(contract: str) -> Make:
    def make(name: str = "", **changed: Any) -> Prediction:
        fields: dict[str, Any] = {
            "prediction_id": f"{contract}-{name or uuid.uuid4().hex}",
            "created_at": NOON,
            "contract": contract,
            "contract_hash": "c" * 64,
            "model_run_id": "run-a",
            "route": "http",
            "features": {"age": 41, "limit": 12_691.0, "card": "Blue", "married": True, "income": None},
            "missing": ("income",),
            "unknown": (),
            "ignored": 2,
            "churn_probability": 0.1,
            "churn": False,
            "threshold": 0.35,
            "latency_seconds": 0.000_123,
        }
        return Prediction(**{**fields, **changed})

    return make


def test_a_prediction_comes_back_as_it_was_saved_to_the_microsecond(store: PredictionStore, make: Make) -> None:
    prediction = make(
        created_at=NOON + timedelta(microseconds=123_457),
        customer_id="c-1",
        event_id="e-1",
        event_time=NOON - timedelta(microseconds=1),
        churn_probability=0.1 + 0.2,
        unknown=("card",),
    )

    assert store.save([prediction]) == Saved(stored=1, repeated=0)
    assert store.get(prediction.prediction_id) == prediction


def test_whole_and_fractional_numbers_keep_their_kind(store: PredictionStore, make: Make) -> None:
    prediction = make(features={"whole": 5, "fraction": 5.0, "large": 2**53 + 1, "negative": -0.5})

    store.save([prediction])

    found = store.get(prediction.prediction_id)
    assert found is not None
    assert {name: repr(value) for name, value in found.features.items()} == {
        "whole": "5",
        "fraction": "5.0",
        "large": "9007199254740993",
        "negative": "-0.5",
    }


def test_a_repeat_of_an_id_changes_nothing_and_is_counted(store: PredictionStore, make: Make) -> None:
    first = make("same", churn_probability=0.25)
    again = make("same", churn_probability=0.75)

    assert store.save([first, make("other"), again]) == Saved(stored=2, repeated=1)
    assert store.save([again]) == Saved(stored=0, repeated=1)
    assert store.get(first.prediction_id) == first


def test_saving_nothing_is_allowed(store: PredictionStore) -> None:
    assert store.save([]) == Saved(stored=0, repeated=0)


def test_an_unknown_id_is_none(store: PredictionStore) -> None:
    assert store.get("nobody") is None


def test_many_ids_are_found_at_once_and_unknown_ones_left_out(store: PredictionStore, make: Make) -> None:
    predictions = [make(f"{number:04}") for number in range(1_200)]
    store.save(predictions)

    found = store.get_many([*(prediction.prediction_id for prediction in predictions), "nobody"])

    assert found == {prediction.prediction_id: prediction for prediction in predictions}


def test_odd_text_in_ids_names_and_values_survives(store: PredictionStore, make: Make) -> None:
    prediction = make("é\u0000'\"$./\U0001f600", customer_id="O'Brien; DROP", features={"a.b": "x\ny", "$c": "ü"})

    store.save([prediction])

    assert store.get(prediction.prediction_id) == prediction


def test_nan_and_infinity_among_features_read_as_missing(store: PredictionStore, make: Make) -> None:
    prediction = make(features={"nan": math.nan, "inf": math.inf, "one": 1.0})

    store.save([prediction])

    found = store.get(prediction.prediction_id)
    assert found is not None
    assert found.features == {"nan": None, "inf": None, "one": 1.0}


def test_a_score_that_is_not_a_number_reads_as_nan_and_does_not_break_the_window(
    store: PredictionStore, contract: str, make: Make
) -> None:
    store.save([make("a", churn_probability=math.nan), make("b")])

    found = list(store.window(contract, None, NOON, NOON + HOUR))

    assert [math.isnan(prediction.churn_probability) for prediction in found] == [True, False]


def test_a_window_is_half_open_and_in_order_of_time_and_id(store: PredictionStore, contract: str, make: Make) -> None:
    inside = [make("b"), make("a"), make("c", created_at=NOON + HOUR - timedelta(microseconds=1))]
    outside = [make("d", created_at=NOON + HOUR), make("e", created_at=NOON - timedelta(microseconds=1))]
    store.save([*outside, *inside])

    found = [prediction.prediction_id for prediction in store.window(contract, None, NOON, NOON + HOUR)]

    assert found == [f"{contract}-a", f"{contract}-b", f"{contract}-c"]


def test_a_window_can_be_of_one_model(store: PredictionStore, contract: str, make: Make) -> None:
    store.save([make("a"), make("b", model_run_id="run-b")])

    assert [p.prediction_id for p in store.window(contract, "run-b", NOON, NOON + HOUR)] == [f"{contract}-b"]


def test_a_window_of_many_equal_times_is_read_once_each(store: PredictionStore, contract: str, make: Make) -> None:
    predictions = [make(f"{number:05}") for number in range(4_500)]
    store.save(predictions)

    assert list(store.window(contract, None, NOON, NOON + HOUR)) == predictions


@pytest.mark.parametrize(("limit", "expected"), [(0, 0), (1, 1), (1_000, 1_000), (1_001, 1_001), (5_000, 1_200)])
def test_a_limit_keeps_the_first(store: PredictionStore, contract: str, make: Make, limit: int, expected: int) -> None:
    predictions = [make(f"{number:05}", created_at=NOON + timedelta(seconds=number)) for number in range(1_200)]
    store.save(predictions)

    assert list(store.window(contract, None, NOON, NOON + HOUR, limit=limit)) == predictions[:expected]


def test_a_sample_is_in_order_repeatable_and_independent_of_the_order_of_saving(
    store: PredictionStore, contract: str, make: Make
) -> None:
    predictions = [make(f"{number:05}", created_at=NOON + timedelta(seconds=number)) for number in range(1_200)]
    store.save(predictions[::-1])

    first = list(store.window(contract, None, NOON, NOON + HOUR, sample=100))
    again = list(store.window(contract, None, NOON, NOON + HOUR, sample=100))

    assert first == again
    assert len(first) == 100
    assert [p.created_at for p in first] == sorted(p.created_at for p in first)
    assert list(store.window(contract, None, NOON, NOON + HOUR, sample=2_000)) == predictions
    assert list(store.window(contract, None, NOON, NOON + HOUR, sample=0)) == []


def test_a_sample_is_spread_evenly_over_the_window(store: PredictionStore, contract: str, make: Make) -> None:
    predictions = [make(f"{number:05}", created_at=NOON + timedelta(seconds=number)) for number in range(2_000)]
    store.save(predictions)

    sampled = list(store.window(contract, None, NOON, NOON + HOUR, sample=400))

    quarters = [sum(1 for p in sampled if int((p.created_at - NOON).total_seconds()) // 500 == q) for q in range(4)]
    assert all(70 <= count <= 130 for count in quarters), quarters


def test_counts_by_contract_model_time_and_route(store: PredictionStore, contract: str, make: Make) -> None:
    store.save([make(), make(model_run_id="run-b", route="stream"), make(created_at=NOON + HOUR)])

    assert store.count(contract) == 3
    assert store.count(contract, "run-a") == 2
    assert store.count(contract, start=NOON, end=NOON + HOUR) == 2
    assert store.count(contract, route="stream") == 1
    assert store.count(contract, route="lambda") == 0
    assert store.count() >= 3


def test_runs_are_the_pairs_with_predictions_in_the_window(store: PredictionStore, contract: str, make: Make) -> None:
    store.save([make(), make(model_run_id="run-b"), make(), make(contract=f"{contract}_other", created_at=NOON + HOUR)])

    def ours(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
        return [pair for pair in pairs if pair[0].startswith(contract)]

    assert ours(store.runs(NOON, NOON + HOUR)) == [(contract, "run-a"), (contract, "run-b")]
    assert ours(store.runs()) == [(contract, "run-a"), (contract, "run-b"), (f"{contract}_other", "run-a")]


def test_purge_deletes_what_is_older_and_its_labels(store: PredictionStore, contract: str, make: Make) -> None:
    old, young = make("old"), make("young", created_at=NOON + HOUR)
    store.save([old, young])
    store.label([Label(churned=True, observed_at=NOON, prediction_id=old.prediction_id)])

    assert store.purge(contract, NOON + HOUR) == 1
    assert store.purge(contract, NOON + HOUR) == 0
    assert [p.prediction_id for p in store.window(contract, None, NOON - HOUR, NOON + 2 * HOUR)] == [
        young.prediction_id
    ]
    store.save([old])
    assert list(store.labelled(contract, None, NOON - HOUR, NOON + 2 * HOUR)) == []


def test_purge_deletes_labels_that_met_no_prediction_once_they_are_as_old(
    store: PredictionStore, contract: str, make: Make
) -> None:
    orphan, kept = make("orphan"), make("kept", created_at=NOON + HOUR)
    store.save([kept])
    store.label(
        [
            Label(churned=True, observed_at=NOON, prediction_id=orphan.prediction_id),
            Label(churned=True, observed_at=NOON, prediction_id=kept.prediction_id),
            Label(churned=True, observed_at=NOON, customer_id="c-1", contract=contract),
        ]
    )
    store.purge(contract, NOON + HOUR)
    store.save([orphan, make("known", created_at=NOON, customer_id="c-1")])

    found = [p.prediction_id for p, _ in store.labelled(contract, None, NOON - HOUR, NOON + 2 * HOUR)]
    assert found == [kept.prediction_id]


def test_a_label_by_id_joins_its_prediction_and_a_repeat_changes_nothing(
    store: PredictionStore, contract: str, make: Make
) -> None:
    prediction = make(customer_id="c-1")
    store.save([prediction, make(customer_id="c-1")])
    label = Label(churned=True, observed_at=NOON + HOUR, prediction_id=prediction.prediction_id)

    assert store.label([label]) == Labelled(matched=1, changed=0, unknown=0)
    assert store.label([label, label]) == Labelled(matched=2, changed=0, unknown=0)
    assert list(store.labelled(contract, "run-a", NOON, NOON + HOUR)) == [(prediction, label)]
    assert list(store.labelled(contract, "run-b", NOON, NOON + HOUR)) == []


def test_a_later_observation_replaces_an_earlier_one_in_any_order(
    store: PredictionStore, contract: str, make: Make
) -> None:
    prediction = make()
    store.save([prediction])
    early = Label(churned=True, observed_at=NOON + HOUR, prediction_id=prediction.prediction_id)
    late = Label(churned=False, observed_at=NOON + 2 * HOUR, prediction_id=prediction.prediction_id)

    assert store.label([early]) == Labelled(matched=1, changed=0, unknown=0)
    assert store.label([late]) == Labelled(matched=1, changed=1, unknown=0)
    assert store.label([early]) == Labelled(matched=1, changed=0, unknown=0)
    assert list(store.labelled(contract, None, NOON, NOON + HOUR)) == [(prediction, late)]


def test_a_label_by_customer_joins_what_was_predicted_until_it_was_observed(
    store: PredictionStore, contract: str, make: Make
) -> None:
    before = make("1", customer_id="c-1")
    at = make("2", customer_id="c-1", created_at=NOON + HOUR)
    after = make("3", customer_id="c-1", created_at=NOON + HOUR + timedelta(microseconds=1))
    store.save([before, at, after, make("4", customer_id="c-2"), make("5")])
    label = Label(churned=True, observed_at=NOON + HOUR, customer_id="c-1", contract=contract)

    assert store.label([label]) == Labelled(matched=2, changed=0, unknown=0)
    assert list(store.labelled(contract, None, NOON, NOON + 2 * HOUR)) == [(before, label), (at, label)]


def test_the_later_of_two_labels_by_id_and_by_customer_holds(store: PredictionStore, contract: str, make: Make) -> None:
    first, second = make("1", customer_id="c-1"), make("2", customer_id="c-1")
    store.save([first, second])
    by_id = Label(churned=False, observed_at=NOON + 2 * HOUR, prediction_id=first.prediction_id)
    by_customer = Label(churned=True, observed_at=NOON + HOUR, customer_id="c-1", contract=contract)

    assert store.label([by_id, by_customer]) == Labelled(matched=3, changed=0, unknown=0)
    assert list(store.labelled(contract, None, NOON, NOON + HOUR)) == [(first, by_id), (second, by_customer)]
    later = msgspec.structs.replace(by_customer, observed_at=NOON + 3 * HOUR)
    assert store.label([later]) == Labelled(matched=2, changed=1, unknown=0)
    assert [label for _, label in store.labelled(contract, None, NOON, NOON + HOUR)] == [later, later]


def test_a_label_that_comes_before_its_prediction_is_unknown_now_and_holds_later(
    store: PredictionStore, contract: str, make: Make
) -> None:
    by_id, by_customer = make("1"), make("2", customer_id="c-1")
    labels = [
        Label(churned=True, observed_at=NOON + HOUR, prediction_id=by_id.prediction_id),
        Label(churned=True, observed_at=NOON + HOUR, customer_id="c-1", contract=contract),
    ]

    assert store.label(labels) == Labelled(matched=0, changed=0, unknown=2)
    store.save([by_id, by_customer])
    assert list(store.labelled(contract, None, NOON, NOON + HOUR)) == [(by_id, labels[0]), (by_customer, labels[1])]


def test_many_labels_at_once_are_joined_in_order(store: PredictionStore, contract: str, make: Make) -> None:
    predictions = [make(f"{number:05}") for number in range(1_500)]
    store.save(predictions)
    labels = [Label(churned=True, observed_at=NOON, prediction_id=p.prediction_id) for p in predictions]

    assert store.label(labels) == Labelled(matched=1_500, changed=0, unknown=0)
    assert list(store.labelled(contract, None, NOON, NOON + HOUR)) == list(zip(predictions, labels, strict=True))


@pytest.mark.parametrize(
    "label",
    [Label(churned=True, observed_at=NOON), Label(churned=True, observed_at=NOON, customer_id="c-1")],
    ids=["nothing", "no contract"],
)
def test_a_label_that_names_nothing_is_refused_and_no_other_kept(
    store: PredictionStore, contract: str, make: Make, label: Label
) -> None:
    prediction = make()
    store.save([prediction])
    good = Label(churned=True, observed_at=NOON, prediction_id=prediction.prediction_id)

    with pytest.raises(InvalidInput, match="expected"):
        store.label([good, label])
    assert list(store.labelled(contract, None, NOON, NOON + HOUR)) == []


def test_a_customers_newest_features_win_whatever_the_order(store: PredictionStore, contract: str) -> None:
    def customer(age: int, as_of: datetime) -> Customer:
        return Customer("c-1", {"age": age, "card": "Blue", "income": None}, as_of)

    assert store.put_customers(contract, [customer(41, NOON)]) == 1
    assert store.put_customers(contract, [customer(40, NOON - HOUR)]) == 0
    assert store.put_customers(contract, [customer(42, NOON)]) == 1
    assert store.customer(contract, "c-1") == customer(42, NOON)
    assert store.customer(contract, "c-2") is None
    assert store.customer(f"{contract}_other", "c-1") is None


def test_many_customers_are_taken_from_any_iterable(store: PredictionStore, contract: str) -> None:
    customers = (Customer(f"c-{number}", {"age": number}, NOON) for number in range(2_300))

    assert store.put_customers(contract, customers) == 2_300
    assert store.customer(contract, "c-2299") == Customer("c-2299", {"age": 2_299}, NOON)


def line(customer_id: str, number: int, time: datetime = NOON, copy: int = 1) -> Transaction:
    attributes = {"$a.b": "Größe"} if number == 1 else {}
    return Transaction(customer_id, time, f"i-{number}", "85123A", 6.0, 2.55, number == 3, copy, attributes)


def test_transactions_are_kept_once_however_often_they_come(store: PredictionStore, contract: str) -> None:
    lines = [line("c-1", 1), line("c-1", 1, copy=2), line("c-1", 3, NOON + HOUR), line("c-2", 1)]

    assert store.put_transactions(contract, lines[:2]) == Saved(stored=2, repeated=0)
    assert store.put_transactions(contract, (one for one in [*lines, lines[0]])) == Saved(stored=2, repeated=3)
    assert store.count_transactions(contract) == 4
    assert store.count_transactions(f"{contract}_other") == 0
    assert sorted(store.transactions(contract), key=lambda one: (one.time, one.customer_id, one.copy)) == [
        lines[0], lines[1], lines[3], lines[2],
    ]  # fmt: skip


def test_transactions_are_read_by_customer_and_by_time(store: PredictionStore, contract: str) -> None:
    store.put_transactions(
        contract, [line(f"c-{number % 2}", number, NOON + number * HOUR) for number in reversed(range(6))]
    )

    def numbers(*where: Any) -> list[str]:
        return [one.invoice for one in store.transactions(contract, *where)]

    assert numbers() == [f"i-{number}" for number in range(6)]
    assert numbers("c-1") == ["i-1", "i-3", "i-5"]
    assert numbers("c-1", NOON + 3 * HOUR) == ["i-3", "i-5"]
    assert numbers(None, NOON + HOUR, NOON + 3 * HOUR) == ["i-1", "i-2"]
    assert numbers("c-1", None, NOON + 3 * HOUR) == ["i-1"]
    assert numbers("c-9") == []


def test_many_transactions_of_one_moment_are_all_read(store: PredictionStore, contract: str) -> None:
    lines = [line(f"c-{number % 7}", number) for number in range(5_500)]

    assert store.put_transactions(contract, lines).stored == 5_500
    assert {one.transaction_id for one in store.transactions(contract)} == {one.transaction_id for one in lines}
    assert len(list(store.transactions(contract, "c-0"))) == 786


def test_a_free_shard_is_taken_and_another_worker_is_turned_away(store: PredictionStore, contract: str) -> None:
    lease = store.acquire_shard(contract, "shard-0", "one", NOON, 30)

    assert lease is not None
    assert (lease.owner, lease.token, lease.sequence_number, lease.finished) == ("one", 1, None, False)
    assert lease.expires_at == NOON + timedelta(seconds=30)
    assert store.acquire_shard(contract, "shard-0", "two", NOON + timedelta(seconds=29), 30) is None
    assert store.acquire_shard(contract, "shard-1", "two", NOON, 30) is not None


def test_an_expired_shard_is_taken_over_and_the_old_owner_is_fenced_off(store: PredictionStore, contract: str) -> None:
    old = store.acquire_shard(contract, "shard-0", "one", NOON, 30)
    assert old is not None
    old = store.checkpoint_shard(old, "100", NOON)
    later = NOON + timedelta(seconds=30)

    new = store.acquire_shard(contract, "shard-0", "two", later, 30)

    assert new is not None
    assert (new.owner, new.token, new.sequence_number) == ("two", 2, "100")
    with pytest.raises(LeaseLost, match="shard-0"):
        store.checkpoint_shard(old, "200", later)
    with pytest.raises(LeaseLost):
        store.renew_shard(old, later, 30)
    store.release_shard(old)
    assert [(s.owner, s.token, s.sequence_number) for s in store.shards(contract)] == [("two", 2, "100")]


def test_taking_ones_own_shard_again_raises_the_token(store: PredictionStore, contract: str) -> None:
    old = store.acquire_shard(contract, "shard-0", "one", NOON, 30)
    new = store.acquire_shard(contract, "shard-0", "one", NOON, 30)

    assert old is not None
    assert new is not None
    assert new.token == 2
    with pytest.raises(LeaseLost):
        store.renew_shard(old, NOON, 30)


def test_a_lease_is_renewed_and_released(store: PredictionStore, contract: str) -> None:
    lease = store.acquire_shard(contract, "shard-0", "one", NOON, 30)
    assert lease is not None

    renewed = store.renew_shard(lease, NOON + timedelta(seconds=20), 30)
    assert renewed.expires_at == NOON + timedelta(seconds=50)
    store.release_shard(renewed)

    state = store.shards(contract)[0]
    assert (state.owner, state.expires_at, state.token) == (None, None, 1)
    with pytest.raises(LeaseLost):
        store.renew_shard(renewed, NOON, 30)
    taken = store.acquire_shard(contract, "shard-0", "two", NOON, 30)
    assert taken is not None
    assert taken.token == 2


def test_checkpoints_compare_as_numbers_and_never_move_back(store: PredictionStore, contract: str) -> None:
    lease = store.acquire_shard(contract, "shard-0", "one", NOON, 30)
    assert lease is not None
    small, large = "49590338271490256608559692538361571095921575989136588898", "149590338271490256608559692538361571095"

    for number, kept in [("9", "9"), ("10", "10"), ("9", "10"), (small, small), (large, small), (None, small)]:
        assert store.checkpoint_shard(lease, number, NOON).sequence_number == kept
    assert store.shards(contract)[0].checkpointed_at == NOON


def test_a_finished_shard_stays_finished(store: PredictionStore, contract: str) -> None:
    lease = store.acquire_shard(contract, "shard-0", "one", NOON, 30)
    assert lease is not None

    assert store.checkpoint_shard(lease, "7", NOON, finished=True).finished
    assert store.checkpoint_shard(lease, "8", NOON).finished
    assert store.checkpoint_shard(lease, "3", NOON, finished=True).sequence_number == "8"
    assert store.shards(contract)[0].finished


def test_a_sequence_number_that_is_no_number_is_refused(store: PredictionStore, contract: str) -> None:
    lease = store.acquire_shard(contract, "shard-0", "one", NOON, 30)
    assert lease is not None

    with pytest.raises(InvalidInput, match="sequence_number='LATEST'"):
        store.checkpoint_shard(lease, "LATEST", NOON)


def test_shards_are_listed_by_consumer_in_order(store: PredictionStore, contract: str) -> None:
    for shard in ("shard-2", "shard-0", "shard-1"):
        store.acquire_shard(contract, shard, "one", NOON, 30)

    assert [state.shard_id for state in store.shards(contract)] == ["shard-0", "shard-1", "shard-2"]
    assert store.shards(f"{contract}_other") == []


def test_of_many_workers_at_once_one_gets_the_shard(store: PredictionStore, contract: str) -> None:
    won: list[str] = []
    start = threading.Barrier(8)

    def take(owner: str) -> None:
        start.wait()
        if store.acquire_shard(contract, "shard-0", owner, NOON, 30) is not None:
            won.append(owner)

    threads = [threading.Thread(target=take, args=(f"worker-{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(won) == 1
    assert [state.owner for state in store.shards(contract)] == won


def test_a_document_is_written_once_unless_replaced(store: PredictionStore, contract: str) -> None:
    assert store.put_document(contract, "2026-01-31", {"alarms": 1})
    assert not store.put_document(contract, "2026-01-31", {"alarms": 2})
    assert store.document(contract, "2026-01-31") == {"alarms": 1}

    assert store.put_document(contract, "2026-01-31", {"alarms": 3}, replace=True)
    assert store.document(contract, "2026-01-31") == {"alarms": 3}
    assert store.document(contract, "2026-02-01") is None


def test_documents_may_hold_what_json_cannot(store: PredictionStore, contract: str) -> None:
    import numpy as np

    document = {
        "nan": math.nan,
        "inf": -math.inf,
        "$a.b": {"": [1, None]},
        "n": np.float64(0.5),
        "at": NOON,
        "i": 2**70,
    }

    store.put_document(contract, "odd", document)

    assert store.document(contract, "odd") == {
        "nan": None,
        "inf": None,
        "$a.b": {"": [1, None]},
        "n": 0.5,
        "at": "2026-01-31T12:00:00Z",
        "i": 2**70,
    }


def test_documents_are_listed_by_prefix_in_either_order(store: PredictionStore, contract: str) -> None:
    for key in ("a/2", "b/1", "a/1", "a/10", "a%/1"):
        store.put_document(contract, key, {"key": key})

    def keys(**how: Any) -> list[str]:
        return [document["key"] for document in store.documents(contract, **how)]

    assert keys(prefix="a/") == ["a/2", "a/10", "a/1"]
    assert keys(prefix="a/", newest_first=False) == ["a/1", "a/10", "a/2"]
    assert keys(limit=2) == ["b/1", "a/2"]
    assert keys(limit=0) == []
    assert len(keys()) == 5


def test_threads_may_save_the_same_predictions_at_once(store: PredictionStore, contract: str, make: Make) -> None:
    predictions = [make(f"{number:03}") for number in range(200)]
    outcomes: list[Saved] = []

    def save() -> None:
        outcomes.extend(store.save(predictions[start : start + 20]) for start in range(0, 200, 20))

    threads = [threading.Thread(target=save) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(outcome.stored for outcome in outcomes) == 200
    assert sum(outcome.repeated for outcome in outcomes) == 600
    assert store.count(contract) == 200


def test_check_can_be_asked_again(store: PredictionStore) -> None:
    store.check()
