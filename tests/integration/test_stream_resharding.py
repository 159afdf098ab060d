"""Resharding on moto, whose closed shards never say that they have ended: the children must be read all the same."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from churn.bundle import Bundle
from churn.metrics import AnswerMetrics, StreamMetrics
from churn.scoring import Scorer
from churn.settings import StreamSettings
from churn.store import open_store
from stream_service.health import Health
from stream_service.kinesis import Kinesis, connect
from stream_service.parts import Parts
from stream_service.service import Service
from tests.fakes import random_customers, records

pytestmark = pytest.mark.integration


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    yield connect()
    server.stop()


def test_children_of_a_split_and_a_merge_are_read_after_their_parents(
    client: Any, tmp_path: Path, bundle: Bundle
) -> None:
    customers = records(random_customers(bundle.contract, 300, seed=6), bundle.contract)
    kinesis = Kinesis(client)
    for stream in ("predictions", "results", "dead-letters"):
        kinesis.ensure(stream, 2)
    store = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    store.check()
    metrics = StreamMetrics(registry := CollectorRegistry())
    parts = Parts(kinesis, store, lambda: Scorer(bundle), metrics, AnswerMetrics(registry), Health(metrics, 300.0))
    service = Service(StreamSettings(lease_seconds=2.0, stream_poll_seconds=0.2), parts, "worker")
    thread = threading.Thread(target=service.run)

    def send(first: int) -> None:
        for number in range(first, first + 100):
            data = json.dumps(customers[number] | {"event_id": f"event-{number}"}).encode()
            client.put_record(StreamName="predictions", PartitionKey=f"key-{number}", Data=data)

    thread.start()
    send(0)
    client.split_shard(StreamName="predictions", ShardToSplit="shardId-000000000000", NewStartingHashKey=str(2**126))
    send(100)
    names = [shard.shard_id for shard in kinesis.shards("predictions") if not shard.closed]
    client.merge_shards(StreamName="predictions", ShardToMerge=names[-2], AdjacentShardToMerge=names[-1])
    send(200)
    consumer = f"churnwatch/{kinesis.identity('predictions')}"
    closed = {shard.shard_id for shard in kinesis.shards("predictions") if shard.closed}

    def finished() -> set[str]:
        return {state.shard_id for state in store.shards(consumer) if state.finished}

    deadline = time.monotonic() + 60
    while (store.count() < 300 or finished() != closed) and time.monotonic() < deadline:
        time.sleep(0.1)
    service.stop()
    thread.join(30)

    assert store.count() == 300
    assert len(closed) == 3
    assert finished() == closed
    store.close()
