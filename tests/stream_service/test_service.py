"""The service around the shards: leases, resharding, several workers, stop and once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from churn.errors import TooManyDeadLetters
from stream_service.service import consumer_key


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Poll to a deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


class Running:
    """A service in a thread of its own; its failure is raised by `stop`."""

    def __init__(self, service: Any) -> None:
        self.service = service
        self.failure: Exception | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.service.run()
        except Exception as error:
            self.failure = error

    def stop(self) -> None:
        self.service.stop()
        self.thread.join(20)
        assert not self.thread.is_alive()

    @property
    def shards(self) -> set[str]:
        return set(self.service._running)


def test_once_drains_every_shard_and_releases_it(world: Any, make_service: Any) -> None:
    world.send(500)

    make_service().run(once=True)

    assert world.store.count() == 500 == len(world.results())
    states = world.store.shards(consumer_key(world.kinesis, world.settings))
    assert [state.owner for state in states] == [None, None]
    assert world.sample("stream_shard_owned", shard="shardId-000000000000") is None


def test_a_second_run_goes_on_from_the_checkpoints(world: Any, make_service: Any) -> None:
    world.send(100)
    make_service().run(once=True)
    world.send(50, first=100)

    make_service("worker-2").run(once=True)

    ids = [result["prediction_id"] for result in world.results()]
    assert len(ids) == len(set(ids)) == 150 == world.store.count()


def test_streams_are_made_when_absent(world: Any, make_service: Any) -> None:
    for stream in ("predictions", "results", "dead-letters"):
        world.client.delete_stream(stream)

    make_service(stream_shards=3).run(once=True)

    assert {name: len(shards) for name, shards in world.client.streams.items()} == {
        "predictions": 3,
        "results": 3,
        "dead-letters": 3,
    }


def test_parents_are_drained_before_their_children(world: Any, make_service: Any) -> None:
    """Split, merge, split again, with records at every stage: all are answered, a key's in their order."""
    for stage in range(4):
        for number in range(40):
            world.send(1, first=number, event_id=f"{number}-{stage}")
        if stage == 0:
            children = world.client.split("predictions", "shardId-000000000000")
        elif stage == 1:
            merged = world.client.merge("predictions", children[1], "shardId-000000000001")
        elif stage == 2:
            world.client.split("predictions", merged)

    make_service().run(once=True)

    assert world.store.count() == 160
    stages: dict[str, list[str]] = {}
    for result in world.results():
        number, stage = result["event_id"].split("-")
        stages.setdefault(number, []).append(stage)
    assert all(seen == ["0", "1", "2", "3"] for seen in stages.values())


def test_shards_born_while_it_runs_are_found(world: Any, make_service: Any) -> None:
    running = Running(make_service(lease_seconds=1.5))
    world.send(20)
    wait_for(lambda: world.store.count() == 20)
    world.client.split("predictions", "shardId-000000000000")
    world.send(200, first=20)

    wait_for(lambda: world.store.count() == 220)
    running.stop()

    assert len(world.results()) == 220


def test_two_workers_share_the_shards_evenly_and_answer_each_record_once(world: Any, make_service: Any) -> None:
    world.client.streams.clear()
    world.make_streams(shards=5)
    first = Running(make_service("a", lease_seconds=4))
    wait_for(lambda: len(first.shards) == 5)
    world.send(300)
    second = Running(make_service("b", lease_seconds=4))

    wait_for(lambda: sorted([len(first.shards), len(second.shards)]) == [2, 3])
    assert first.shards.isdisjoint(second.shards)
    world.send(300, first=300)
    wait_for(lambda: world.store.count() == 600)
    first.stop()
    wait_for(lambda: len(second.shards) == 5)
    second.stop()

    ids = [result["prediction_id"] for result in world.results()]
    assert len(ids) == len(set(ids)) == 600


def test_a_stop_finishes_the_batch_and_releases_the_shards(world: Any, make_service: Any) -> None:
    running = Running(make_service())
    world.send(300)
    wait_for(lambda: world.store.count() > 0)

    running.stop()

    consumer = consumer_key(world.kinesis, world.settings)
    assert all(state.owner is None for state in world.store.shards(consumer))
    assert all(state.owner is None for state in world.store.shards(f"{consumer}/workers"))
    assert world.store.count() == len(world.results())


def test_too_many_dead_letters_end_the_service_loudly(world: Any, make_service: Any) -> None:
    for number in range(300):
        world.client.put("predictions", f"bad-{number}", b"{}")

    with pytest.raises(TooManyDeadLetters):
        make_service(dead_letter_window=100).run(once=True)

    assert world.dead_letters() == []


def test_a_stream_made_again_starts_with_checkpoints_of_its_own(world: Any, make_service: Any) -> None:
    """Sequence numbers of the former stream must not hide records of the new one."""
    world.send(20)
    make_service().run(once=True)
    world.client.delete_stream("predictions")
    world.client._sequence = 10
    world.clock.advance(100)
    world.kinesis.ensure("predictions", 2)
    world.client.born["predictions"] = world.clock()
    world.send(30, first=100)

    make_service("worker-2").run(once=True)

    assert world.store.count() == 50


def test_latest_means_since_the_first_start_also_after_a_restart(world: Any, make_service: Any) -> None:
    world.send(10)
    make_service(start_position="LATEST").run(once=True)
    assert world.store.count() == 0
    world.send(7, first=10)

    make_service("worker-2", start_position="LATEST").run(once=True)

    assert world.store.count() == 7


def test_a_time_to_start_at_holds_for_a_new_consumer_only(world: Any, make_service: Any) -> None:
    world.send(10)
    world.clock.advance(60)
    middle = world.clock()
    world.send(7, first=10)

    make_service(start_position=middle.isoformat()).run(once=True)
    assert world.store.count() == 7

    world.send(5, first=17)
    make_service("worker-2", start_position="TRIM_HORIZON").run(once=True)
    assert world.store.count() == 12


def test_a_worker_that_was_killed_is_waited_for_and_replaced(world: Any, make_service: Any) -> None:
    """Its leases stand in the store until they expire; `--once` waits for that."""
    consumer = consumer_key(world.kinesis, world.settings)
    from datetime import UTC, datetime

    for shard in world.kinesis.shards("predictions"):
        world.store.acquire_shard(consumer, shard.shard_id, "dead", datetime.now(UTC), 1.0)
    world.store.acquire_shard(f"{consumer}/workers", "seat-00", "dead", datetime.now(UTC), 1.0)
    world.send(10)

    make_service().run(once=True)

    assert world.store.count() == 10


def test_outages_of_kinesis_and_store_while_it_looks_after_leases_are_waited_out(world: Any, make_service: Any) -> None:
    world.client.fail("list_shards", "InternalFailure", times=2)
    world.client.fail("describe_stream_summary", "connection", times=2)
    world.send(10)

    make_service().run(once=True)

    assert world.store.count() == 10
