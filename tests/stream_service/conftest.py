"""A small world for the consumer: three streams in memory, a real SQLite store, a real model, clocks to turn."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from churn.bundle import Bundle
from churn.contract import Contract
from churn.metrics import AnswerMetrics, StreamMetrics
from churn.scoring import Scorer
from churn.settings import StreamSettings
from churn.store import open_store
from stream_service.backoff import StopSignal
from stream_service.beside import Aside
from stream_service.health import Health
from stream_service.kinesis import Kinesis
from stream_service.parts import Parts
from stream_service.reader import ShardReader
from stream_service.records import Position
from stream_service.service import Service, consumer_key
from stream_service.worker import ShardWorker
from tests.fake_kinesis import FakeKinesisClient
from tests.fakes import Clock, pseudonym_key, random_customers, records


class AtOnce:
    """Effects on the caller's thread, for tests that go step by step."""

    def start(self, effects: Callable[[], None]) -> None:
        effects()

    def finish(self) -> None:
        """Nothing ever runs on."""

    def close(self) -> None:
        """Nothing is held."""


class World:
    """What a test of the consumer holds in its hands."""

    def __init__(self, folder: Path, bundle: Bundle, customers: list[dict[str, Any]]) -> None:
        self.bundle = bundle
        self.customers = customers
        self.clock = Clock()
        self.seconds = 1000.0
        self.pauses: list[float] = []
        self.client = FakeKinesisClient(self.clock)
        self.kinesis = Kinesis(self.client)
        self.store = open_store(f"sqlite:///{folder / 'store.db'}")
        self.registry = CollectorRegistry()
        self.settings = StreamSettings(stream_shards=2, stream_poll_seconds=0.2)
        self.parts = self.make_parts()

    def make_parts(self, **changes: Any) -> Parts:
        metrics = StreamMetrics(self.registry) if not hasattr(self, "parts") else self.parts.metrics
        answers = AnswerMetrics(self.registry) if not hasattr(self, "parts") else self.parts.answers
        given: dict[str, Any] = {
            "kinesis": self.kinesis,
            "store": self.store,
            "current_scorer": lambda: Scorer(self.bundle, self.clock, pseudonym_key),
            "metrics": metrics,
            "answers": answers,
            "health": Health(metrics, 300.0, self.clock, lambda: self.seconds),
            "now": self.clock,
            "monotonic": lambda: self.seconds,
            "random": Random(1),
        }
        return Parts(**(given | changes))

    def make_streams(self, shards: int = 2) -> None:
        for stream in ("predictions", "results", "dead-letters"):
            self.kinesis.ensure(stream, shards)

    def send(self, count: int, first: int = 0, **extra: Any) -> list[dict[str, Any]]:
        """Put customers on the input stream, keyed by their number."""
        sent = [self.customers[number % 3000] | extra for number in range(first, first + count)]
        for number, fields in enumerate(sent, first):
            self.client.put("predictions", f"key-{number}", json.dumps(fields).encode())
        return sent

    def worker(
        self, shard_number: int = 0, owner: str = "worker-1", aside: Aside | None = None, **settings: Any
    ) -> ShardWorker:
        """A worker on one shard, ready to be stepped by hand; its waits are noted, not waited."""
        chosen = self.settings.model_copy(update=settings)
        shard = self.kinesis.shards("predictions")[shard_number]
        consumer = consumer_key(self.kinesis, chosen)
        lease = self.store.acquire_shard(consumer, shard.shard_id, owner, self.clock(), 20.0)
        assert lease is not None
        persistence = self.parts.persistence(self.pauses.append)
        return ShardWorker(
            reader=ShardReader(
                self.kinesis,
                "predictions",
                shard,
                Position(after=lease.sequence_number),
                lambda: self.seconds,
            ),
            pipeline=self.parts.pipeline(chosen, self.parts.limit(chosen), persistence),
            store=self.store,
            lease=lease,
            persistence=persistence,
            metrics=self.parts.metrics,
            health=self.parts.health.open_shard(shard.shard_id),
            aside=aside or AtOnce(),
            batch_records=chosen.batch_records,
            batch_seconds=chosen.batch_seconds,
            poll_seconds=chosen.stream_poll_seconds,
            now=self.clock,
            monotonic=lambda: self.seconds,
        )

    def step(self, worker: ShardWorker, times: int = 1) -> None:
        """Step, and let the time pass that the worker asked to wait."""
        for _ in range(times):
            self.seconds += worker.step()

    def results(self) -> list[dict[str, Any]]:
        return [json.loads(data) for data in self.client.records("results")]

    def dead_letters(self) -> list[dict[str, Any]]:
        return [json.loads(data) for data in self.client.records("dead-letters")]

    def sample(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"churnwatch_{name}", labels)


@pytest.fixture(scope="session")
def customers(bundle: Bundle) -> list[dict[str, Any]]:
    """Many, made once. Do not alter them."""
    return records(random_customers(bundle.contract, 3000, seed=5), bundle.contract)


@pytest.fixture
def world(tmp_path: Path, bundle: Bundle, customers: list[dict[str, Any]]) -> Iterator[World]:
    made = World(tmp_path, bundle, customers)
    made.store.check()
    made.make_streams()
    yield made
    made.store.close()


@pytest.fixture
def stop_signal() -> Callable[[], StopSignal]:
    return StopSignal


@pytest.fixture
def make_service(world: World) -> Callable[..., Service]:
    """A service on real threads and clocks, reading fast."""

    def make(owner: str = "worker-1", **settings: Any) -> Service:
        import time
        from datetime import UTC, datetime

        world.client.now = lambda: datetime.now(UTC)
        parts = world.make_parts(
            now=lambda: datetime.now(UTC),
            monotonic=time.monotonic,
            health=Health(world.parts.metrics, 300.0),
        )
        quick = {"lease_seconds": 2.0, "stream_poll_seconds": 0.2} | settings
        return Service(world.settings.model_copy(update=quick), parts, owner)

    return make


@pytest.fixture
def contract(credit_card: Contract) -> Contract:
    return credit_card
