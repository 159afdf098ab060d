"""What the stream service promises in seconds, by its default settings, on an emulator that reshards and throttles."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from churn.bundle import Bundle
from churn.store import PredictionStore, open_store
from churn.store.interface import ShardState
from tests.fakes import pseudonym_key, random_customers, records
from tests.kinesalite import client_of, kinesalite
from tests.kinesis_proxy import READS_A_SECOND, KinesisProxy
from tests.services import free_port

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]
ROOT = Path(__file__).resolve().parents[2]
PROMISED_SECONDS = 30


class Pair:
    """Two workers on one stream of two shards, behind a proxy that is as strict as AWS."""

    def __init__(self, emulator: str, folder: Path, bundle: Bundle) -> None:
        self.folder = folder
        self.proxy = KinesisProxy(emulator, seed=1)
        self.client = client_of(emulator)
        for stream in ("predictions", "results", "dead-letters"):
            self.client.create_stream(StreamName=stream, ShardCount=2)
        for stream in ("predictions", "results", "dead-letters"):
            self.client.get_waiter("stream_exists").wait(StreamName=stream, WaiterConfig={"Delay": 1})
        (folder / "cache" / "bundles").mkdir(parents=True)
        (folder / "cache" / "bundles" / bundle.digest).symlink_to(bundle.folder)
        (folder / "cache" / "pointers").mkdir()
        pointer = {"run_id": bundle.run_id, "digest": bundle.digest}
        (folder / "cache" / "pointers" / bundle.run_id).write_text(json.dumps(pointer))
        self.run_id = bundle.run_id
        self.customers = records(random_customers(bundle.contract, 1000, seed=7), bundle.contract)
        self.store: PredictionStore = open_store(f"sqlite:///{folder / 'store.db'}", timeout_seconds=30)
        self.store.check()
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self.sent = 0

    def start(self, name: str, **settings: str) -> None:
        env = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | {
            "AWS_ENDPOINT_URL": self.proxy.url,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "CHURNWATCH_HOME": str(self.folder),
            "BUNDLE_CACHE": str(self.folder / "cache"),
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}",
            "RUN_ID": self.run_id,
            "STORE_URL": f"sqlite:///{self.folder / 'store.db'}",
            "PSEUDONYM_KEY": pseudonym_key().decode(),
            "STREAM_METRICS_PORT": "0",
            "STREAM_WORKER": name,
        }
        with (self.folder / f"{name}.log").open("wb") as log:
            program = [sys.executable, "-m", "stream_service"]
            self.workers[name] = subprocess.Popen(program, cwd=ROOT, env=env | settings, stdout=log, stderr=log)

    def send(self, count: int) -> None:
        for _ in range(count // 100):
            entries = [
                {"Data": json.dumps(self.customers[n % 1000]).encode(), "PartitionKey": f"key-{n}"}
                for n in range(self.sent, self.sent + 100)
            ]
            assert self.client.put_records(StreamName="predictions", Records=entries)["FailedRecordCount"] == 0
            self.sent += 100

    def all_logged(self) -> bool:
        return self.store.count() == self.sent

    def owners(self) -> dict[str, str]:
        """Owner by shard, of those shards that are read at present."""
        return {name: state.owner for name, state in self.states().items() if state.owner and not state.finished}

    def states(self) -> dict[str, ShardState]:
        born = self.client.describe_stream_summary(StreamName="predictions")["StreamDescriptionSummary"]
        consumer = f"churnwatch/predictions@{int(born['StreamCreationTimestamp'].timestamp())}"
        return {state.shard_id: state for state in self.store.shards(consumer)}

    def close(self) -> None:
        for worker in self.workers.values():
            worker.kill()
            worker.wait()
        self.proxy.close()
        self.store.close()


@pytest.fixture
def pair(tmp_path: Path, bundle: Bundle) -> Iterator[Pair]:
    with kinesalite(tmp_path / "kinesalite") as emulator:
        made = Pair(emulator, tmp_path, bundle)
        yield made
        made.close()


def test_shares_finds_children_and_takes_over_in_time_and_never_reads_too_often(pair: Pair) -> None:
    small_batches = {"BATCH_RECORDS": "50"}  # so that a backlog takes many reads
    pair.send(1500)
    pair.start("first", **small_batches)
    pair.start("second", **small_batches)
    wait_until(pair.all_logged, 60, "the backlog to be answered")
    wait_until(lambda: set(pair.owners().values()) == {"first", "second"}, PROMISED_SECONDS, "an even share")
    for shard, times in pair.proxy.asked.items():
        assert reads_a_second(times) <= READS_A_SECOND, shard

    pair.client.split_shard(
        StreamName="predictions", ShardToSplit="shardId-000000000000", NewStartingHashKey=str(2**126)
    )
    children = {"shardId-000000000002", "shardId-000000000003"}
    wait_until(lambda: children <= pair.owners().keys(), PROMISED_SECONDS, "the children of the split to be read")
    assert pair.states()["shardId-000000000000"].finished

    pair.workers["first"].send_signal(signal.SIGKILL)
    pair.send(300)
    wait_until(pair.all_logged, PROMISED_SECONDS, "the standby to take over")
    assert set(pair.owners().values()) == {"second"}


def reads_a_second(times: list[float]) -> float:
    """The most over any five seconds: a request may be late on its way, and the next one not."""
    times = sorted(times)
    return max(sum(start <= time < start + 5 for time in times) for start in times) / 5


def wait_until(condition: Callable[[], Any], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        time.sleep(0.1)
