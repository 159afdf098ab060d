"""Effects beside the reading and scoring of the next batch: quicker, and never in another order."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from churn.errors import LeaseLost
from stream_service.beside import Beside
from stream_service.service import consumer_key


class WatchedStore:
    """A store that notes what is asked of it; `gate` holds up its saves, `lost` fails its checkpoints."""

    def __init__(self, store: Any, effects: list[str]) -> None:
        self.store, self.effects = store, effects
        self.gate = threading.Event()
        self.lost = False

    def save(self, predictions: Any) -> Any:
        self.effects.append("log")
        assert self.gate.wait(10)
        return self.store.save(predictions)

    def checkpoint_shard(self, lease: Any, sequence_number: str | None, now: Any, finished: bool) -> Any:
        self.effects.append("checkpoint")
        if self.lost:
            raise LeaseLost("as ordered")
        return self.store.checkpoint_shard(lease, sequence_number, now, finished)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


@pytest.fixture
def watched(world: Any) -> Iterator[tuple[Any, WatchedStore, list[str]]]:
    """A worker with a thread for its effects on a backlog of a few batches, its store, and the effects in order."""
    effects: list[str] = []
    real_put = world.client.put_records

    def put_records(StreamName: str, Records: Any) -> Any:  # noqa: N803 as boto3 names them
        effects.append(StreamName)
        return real_put(StreamName=StreamName, Records=Records)

    store = WatchedStore(world.store, effects)
    world.client.put_records, world.store = put_records, store
    world.parts = world.make_parts(store=store)
    world.send(600)
    world.clock.advance(60)
    worker = world.worker(0, aside=Beside("effects"), batch_records=100)
    yield worker, store, effects
    store.gate.set()
    worker.close()


def test_a_batch_is_read_and_scored_while_the_effects_of_the_one_before_are_under_way(
    world: Any, watched: tuple[Any, WatchedStore, list[str]]
) -> None:
    worker, store, effects = watched
    reads = world.client.calls["get_records"]
    world.step(worker)
    second = threading.Thread(target=lambda: world.step(worker))
    second.start()

    wait_until = threading.Event()
    while world.client.calls["get_records"] < reads + 2:
        wait_until.wait(0.01)
    assert effects == ["log"]
    assert second.is_alive()

    store.gate.set()
    second.join(10)
    world.step(worker, times=10)
    worker.settle()

    batches = -(-len(world.client.streams["predictions"][0]["records"]) // 100)
    assert batches >= 3
    assert effects == ["log", "results", "checkpoint"] * batches
    assert world.store.count() == len(world.results()) == len(world.client.streams["predictions"][0]["records"])


def test_when_a_checkpoint_fails_nothing_of_the_next_batch_is_done(
    world: Any, watched: tuple[Any, WatchedStore, list[str]]
) -> None:
    worker, store, effects = watched
    store.gate.set()
    store.lost = True
    world.step(worker)

    with pytest.raises(LeaseLost, match="as ordered"):
        world.step(worker, times=2)

    assert effects == ["log", "results", "checkpoint"]
    (state,) = world.store.shards(consumer_key(world.kinesis, world.settings))
    assert state.sequence_number is None


def test_a_failure_is_told_at_the_tip_of_the_shard_though_no_batch_follows(
    world: Any, watched: tuple[Any, WatchedStore, list[str]]
) -> None:
    worker, store, effects = watched
    worker.drained = True
    store.gate.set()
    records = world.client.streams["predictions"][0]["records"]
    del records[100:]  # one full batch, after which more may follow
    store.lost = True
    world.step(worker)

    with pytest.raises(LeaseLost, match="as ordered"):
        world.step(worker)

    assert effects == ["log", "results", "checkpoint"]


def test_settling_waits_for_the_effects_under_way(world: Any, watched: tuple[Any, WatchedStore, list[str]]) -> None:
    worker, store, effects = watched
    world.step(worker)
    assert effects == ["log"]

    threading.Timer(0.05, store.gate.set).start()
    worker.settle()

    assert effects == ["log", "results", "checkpoint"]
    assert world.store.count() == len(world.results()) == 100
