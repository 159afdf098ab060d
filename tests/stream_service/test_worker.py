"""One shard: read, score, log, publish, and only then checkpoint."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from churn.errors import FieldProblem, InvalidInput, LeaseLost, StoreUnavailable, TooManyDeadLetters
from churn.prediction import derived_id
from churn.pseudonym import pseudonyms
from churn.scoring import Scorer
from stream_service.service import consumer_key
from tests.fakes import pseudonym_key

FIRST = "shardId-000000000000"


def checkpoint(world: Any) -> str | None:
    states = world.store.shards(consumer_key(world.kinesis, world.settings))
    return next(state.sequence_number for state in states if state.shard_id == FIRST)


def test_each_record_is_logged_published_and_checkpointed_in_one_step(world: Any) -> None:
    sent = world.send(50)
    worker = world.worker(0)
    other = world.worker(1)

    world.step(worker)
    world.step(other)

    assert world.store.count(route="stream") == len(sent) == len(world.results())
    assert world.dead_letters() == []
    last = world.client.streams["predictions"][0]["records"][-1]["SequenceNumber"]
    assert checkpoint(world) == last
    assert world.sample("stream_checkpoint_timestamp_seconds", shard=FIRST) == world.clock().timestamp()


def test_a_result_is_the_answer_that_the_log_holds(world: Any) -> None:
    world.client.put(
        "predictions", "k", json.dumps(world.customers[0] | {"customer_id": 7, "event_id": "e-1"}).encode()
    )
    for number in (0, 1):
        world.step(world.worker(number))

    (result,) = world.results()
    logged = world.store.get(result["prediction_id"])

    assert result["prediction_id"] == derived_id("event", "credit_card", "e-1")
    assert result["churn_probability"] == logged.churn_probability
    assert result["model_run_id"] == world.bundle.run_id
    pseudonym = pseudonyms(world.bundle.contract, pseudonym_key)("7")
    assert (result["customer_id"], result["event_id"], result["route"]) == (pseudonym, "e-1", "stream")
    assert result["contract_hash"] == world.bundle.contract.hash


def test_results_keep_the_partition_key_of_their_record(world: Any) -> None:
    world.send(20)
    for number in (0, 1):
        world.step(world.worker(number))

    keys = [record["PartitionKey"] for shard in world.client.streams["results"] for record in shard["records"]]
    assert sorted(keys) == sorted(f"key-{number}" for number in range(20))


def test_a_batch_delivered_again_repeats_its_ids_and_its_answers(world: Any) -> None:
    """The crash between publishing and checkpoint: the second delivery comes later and is the same prediction."""
    world.send(30)
    first = world.worker(0)
    original = world.store.checkpoint_shard
    first._store = _Broken(world.store, "checkpoint_shard")
    with pytest.raises(RuntimeError):
        first.step()
    before = world.results()
    world.clock.advance(60)

    assert world.store.checkpoint_shard == original
    world.step(world.worker(0))

    after = world.results()[: 2 * len(before)]
    assert len(after) == 2 * len(before)
    assert sorted(map(str, after)) == sorted(map(str, before + before))
    assert world.store.count() == len(before)


def test_an_event_sent_twice_is_one_prediction(world: Any) -> None:
    world.send(1, event_id="once")
    world.send(1, first=5, event_id="once")
    for number in (0, 1):
        world.step(world.worker(number))

    assert world.store.count() == 1
    assert len({result["churn_probability"] for result in world.results()}) == 1


def test_an_outage_of_the_store_stops_progress_and_loses_nothing(world: Any) -> None:
    world.send(10)
    worker = world.worker(0)
    expected = len(world.client.streams["predictions"][0]["records"])
    worker._pipeline._store = _Failing(world.store, "save", times=4)

    world.step(worker)

    assert len(world.pauses) == 4
    assert world.store.count() == expected == len(world.results())
    assert world.sample("stream_retries_total", call="save", cause="store") == 4


def test_a_record_that_the_store_can_never_hold_is_set_aside_alone(world: Any) -> None:
    world.send(20)
    worker = world.worker(0)
    worker._pipeline._store = _Picky(world.store)
    total = len(world.client.streams["predictions"][0]["records"])

    world.step(worker)

    refused = world.dead_letters()
    assert 0 < len(refused) < total
    assert {letter["reason"] for letter in refused} == {"wrong_fields"}
    assert world.store.count() == len(world.results()) == total - len(refused)


def test_only_refused_entries_are_put_again(world: Any) -> None:
    world.send(40)
    world.client.refuse_entries.extend([{0, 3}, {1}])
    worker = world.worker(0)

    world.step(worker)

    expected = len(world.client.streams["predictions"][0]["records"])
    ids = [result["prediction_id"] for result in world.results()]
    assert len(ids) == len(set(ids)) == expected
    assert world.client.calls["put_records"] == 3
    assert world.sample("stream_retries_total", call="put", cause="throttled") == 2


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("ProvisionedThroughputExceededException", "throttled"),
        ("InternalFailure", "server"),
        ("ExpiredTokenException", "credentials"),
        ("connection", "connection"),
    ],
)
@pytest.mark.parametrize("operation", ["get_records", "get_shard_iterator", "put_records"])
def test_every_kind_of_outage_is_waited_out_and_counted(world: Any, operation: str, code: str, cause: str) -> None:
    world.send(10)
    worker = world.worker(0)
    world.client.fail(operation, code, times=3)

    world.step(worker, times=4)

    assert len(world.results()) == len(world.client.streams["predictions"][0]["records"])
    call = "put" if operation == "put_records" else "read"
    assert world.sample("stream_retries_total", call=call, cause=cause) == 3


def test_an_expired_iterator_is_renewed_where_it_stood(world: Any) -> None:
    world.send(10)
    worker = world.worker(0)
    world.step(worker)
    world.client.expire_iterators()
    world.send(10, first=10)

    world.step(worker, times=2)

    ids = [result["prediction_id"] for result in world.results()]
    assert len(ids) == len(set(ids)) == len(world.client.streams["predictions"][0]["records"])


def test_a_shard_is_read_at_most_five_times_a_second(world: Any) -> None:
    world.send(5)
    worker = world.worker(0)
    started, reads = world.seconds, world.client.calls["get_records"]

    world.step(worker, times=50)

    assert (world.client.calls["get_records"] - reads - 1) / (world.seconds - started) <= 5


def test_a_large_backlog_is_scored_in_batches_of_the_size_set(world: Any) -> None:
    world.send(1000)
    worker = world.worker(0, batch_records=300)
    total = len(world.client.streams["predictions"][0]["records"])

    world.step(worker, times=4)

    assert world.store.count() == total
    assert world.sample("stream_batch_records_count") == -(-total // 300)
    assert worker.drained


def test_lag_is_the_age_of_the_oldest_record_not_yet_answered(world: Any) -> None:
    world.send(400)
    world.clock.advance(90)
    worker = world.worker(0, batch_records=100)

    world.step(worker)
    world.parts.health.report()
    assert world.sample("stream_lag_seconds", shard=FIRST) == pytest.approx(90, abs=0.01)

    world.step(worker, times=4)
    world.parts.health.report()
    assert world.sample("stream_lag_seconds", shard=FIRST) == 0


def test_lag_grows_while_the_shard_cannot_be_read(world: Any) -> None:
    worker = world.worker(0)
    world.step(worker)
    world.client.fail("get_records", "InternalFailure")
    world.clock.advance(30)

    world.step(worker)
    world.clock.advance(12)
    world.parts.health.report()

    assert world.sample("stream_lag_seconds", shard=FIRST) == 42


def test_a_model_is_swapped_between_batches(world: Any) -> None:
    scorers = [_named(world, "a" * 32), _named(world, "b" * 32)]
    world.parts = world.make_parts(current_scorer=lambda: scorers.pop(0))
    world.send(30)
    worker = world.worker(0)
    world.step(worker)
    first = len(world.results())
    world.send(30, first=30)
    world.step(worker)

    runs = [result["model_run_id"] for shard in world.client.streams["results"] for result in _decoded(shard)]
    assert sorted(runs) == ["a" * 32] * first + ["b" * 32] * (len(runs) - first)
    assert 0 < first < len(runs)


def test_a_shard_that_does_not_move_though_records_wait_turns_health_red(world: Any) -> None:
    world.send(400)
    worker = world.worker(0, batch_records=100)
    world.parts.health.balanced()
    world.step(worker)
    assert world.parts.health.report()[0]

    world.seconds += 301

    world.parts.health.balanced()
    healthy, document = world.parts.health.report()
    assert not healthy
    assert document["shards"][FIRST]["stuck"]
    assert world.sample("stream_shard_stuck", shard=FIRST) == 1

    world.step(worker)
    assert world.parts.health.report()[0]


def test_a_zombie_cannot_move_a_checkpoint(world: Any) -> None:
    world.send(10)
    zombie = world.worker(0, owner="zombie")
    world.clock.advance(21)
    heir = world.worker(0, owner="heir")
    world.step(heir)
    moved = checkpoint(world)
    world.send(10, first=10)

    with pytest.raises(LeaseLost):
        zombie.step()

    assert checkpoint(world) == moved


def test_too_large_a_share_of_dead_letters_stops_before_any_effect(world: Any) -> None:
    for number in range(600):
        world.client.put("predictions", f"bad-{number}", b"rubbish")
    world.send(100)
    worker = world.worker(0, dead_letter_window=200)

    with pytest.raises(TooManyDeadLetters, match="101 of the last"):
        worker.step()

    assert world.dead_letters() == world.results() == []
    assert world.store.count() == 0
    assert checkpoint(world) is None


def _named(world: Any, run_id: str) -> Scorer:
    return Scorer(replace(world.bundle, run_id=run_id), world.clock)


def _decoded(shard: dict[str, Any]) -> list[dict[str, Any]]:
    return [json.loads(record["Data"]) for record in shard["records"]]


class _Failing:
    """Passes every call on, but one of them fails so many times first."""

    def __init__(self, store: Any, method: str, times: int) -> None:
        self._store, self._method, self._times = store, method, times

    def __getattr__(self, name: str) -> Any:
        if name == self._method and self._times > 0:
            self._times -= 1

            def fail(*_: Any, **__: Any) -> None:
                raise StoreUnavailable("the store is away, as ordered")

            return fail
        return getattr(self._store, name)


class _Picky:
    """A store that cannot hold customers under 50."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def save(self, predictions: Any) -> Any:
        if any(prediction.features["customer_age"] < 50 for prediction in predictions):
            raise InvalidInput([FieldProblem("customer_age", 49, "a record that the store can hold")])
        return self._store.save(predictions)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class _Broken:
    """A process that dies at one call."""

    def __init__(self, store: Any, method: str) -> None:
        self._store, self._method = store, method

    def __getattr__(self, name: str) -> Any:
        if name == self._method:

            def die(*_: Any, **__: Any) -> None:
                raise RuntimeError("killed")

            return die
        return getattr(self._store, name)
