"""Events over four shards, two workers, kill -9, pauses longer than a lease, a split, a merge, throttling, outages of
store and results, poison: nothing lost, nothing logged twice, checkpoints never move back.

Small by default. The long run, `make chaos-stream`, sets CHAOS_EVENTS=100000 CHAOS_KILLS=20 CHAOS_PAUSES=5
CHAOS_OUTAGE_SECONDS=20; CHAOS_SEED repeats a plan; CHAOS_STORE=mongodb logs to MONGODB_URI instead of SQLite.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest

from churn.bundle import Bundle, bundle_digest
from churn.prediction import derived_id
from churn.pseudonym import pseudonyms
from churn.store import open_store
from tests.fakes import pseudonym_key, random_customers, records
from tests.kinesalite import client_of, kinesalite
from tests.kinesis_proxy import KinesisProxy
from tests.services import free_port

ROOT = Path(__file__).resolve().parents[2]
EVENTS = int(os.environ.get("CHAOS_EVENTS", "10000"))
KILLS = int(os.environ.get("CHAOS_KILLS", "5"))
PAUSES = int(os.environ.get("CHAOS_PAUSES", "1"))
OUTAGE_SECONDS = float(os.environ.get("CHAOS_OUTAGE_SECONDS", "4"))
SEED = int(os.environ.get("CHAOS_SEED", str(time.time_ns() % 1_000_000)))
POISON = EVENTS // 500
LEASE_SECONDS = 3.0
POISONS = (b"\xff\xfe not json", b"[1, 2, 3]", b'{"customer_age": "old"}', b'{"x": "' + b"y" * 300_000 + b'"}')

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with kinesalite(tmp_path_factory.mktemp("kinesalite")) as url:
        yield url


def test_every_event_is_accounted_for_through_kills_pauses_resharding_and_outages(
    emulator: str, tmp_path: Path, bundle: Bundle, bundle_folder: Path
) -> None:
    print(f"\nCHAOS_SEED={SEED}: {EVENTS} events, {KILLS} kills, {PAUSES} pauses, {POISON} poison records")
    chaos = Chaos(emulator, tmp_path, bundle, bundle_folder, Random(SEED))
    try:
        chaos.run()
        chaos.judge()
    finally:
        chaos.close()


@dataclass
class Chaos:
    """The world of one run: streams behind a bad proxy, a store that can be taken away, workers that are killed."""

    emulator: str
    folder: Path
    bundle: Bundle
    bundle_folder: Path
    random: Random
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    logs: dict[int, Path] = field(default_factory=dict)
    started: int = 0
    poison_sent: list[bytes] = field(default_factory=list)
    moved_back: list[str] = field(default_factory=list)
    checkpoints_seen: int = 0
    took: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.proxy = KinesisProxy(self.emulator, seed=self.random.randrange(2**32))
        self.prefix = f"chaos{time.time_ns()}"
        self.store_url = self._store_url()
        self.store = open_store(self.store_url, timeout_seconds=60)
        self.store.check()
        self.client = client_of(self.emulator)
        self.producing = threading.Event()
        self.over = threading.Event()
        self.begun = threading.Semaphore(0)
        self.harms = 0
        for stream, shards in (("in", 4), ("out", 2), ("dead", 1)):
            self.client.create_stream(StreamName=self._name(stream), ShardCount=shards)
        _wait_for(lambda: len(self._shards("in")) == 4, 10, "the streams")
        cache = self.folder / "cache"
        digest = bundle_digest(self.bundle_folder)
        (cache / "bundles").mkdir(parents=True)
        (cache / "bundles" / digest).symlink_to(self.bundle_folder)
        (cache / "pointers").mkdir()
        pointer = {"run_id": self.bundle.run_id, "digest": digest}
        (cache / "pointers" / self.bundle.run_id).write_text(json.dumps(pointer))

    def run(self) -> None:
        """Start all, do harm for as long as events come, then let the rest be drained."""
        began = time.monotonic()
        producer = threading.Thread(target=self._produce)
        watcher = threading.Thread(target=self._watch_checkpoints)
        self._start_worker()
        self._start_worker()
        _wait_for(lambda: self._owners() == 2, 60, "both workers to hold shards")
        self.proxy.server_errors, self.proxy.cuts, self.proxy.expiries = 0.02, 0.02, 0.01
        self.proxy.refused_entries, self.proxy.delays = 0.02, 0.02
        plan = self._plan()
        self.harms = len(plan)
        producer.start()
        watcher.start()
        for harm in plan:
            self.begun.release()
            harm()
        producer.join()
        self.took["events"] = time.monotonic() - began
        _wait_for(self._all_logged, 300, "all events to be logged")
        _wait_for(self._both_at_work, 60, "both workers to be up")
        for worker in self.workers:
            worker.send_signal(signal.SIGTERM)
        for worker in self.workers:
            assert worker.wait(60) == 0
        self._drain()
        self.over.set()
        watcher.join()
        self.took["all"] = time.monotonic() - began

    def judge(self) -> None:
        results = self._read("out")
        by_event: dict[str, set[str]] = defaultdict(set)
        for result in results:
            by_event[result["customer_id"]].add(json.dumps(result, sort_keys=True))
        letters = {letter["dead_letter_id"]: letter for letter in self._read("dead")}
        reasons = Counter(letter["reason"] for letter in letters.values())
        print(
            f"{self.took}; results {len(results)} for {len(by_event)} events, dead letters {dict(reasons)}, "
            f"workers started {self.started}, checkpoints seen {self.checkpoints_seen}, "
            f"faults {dict(self.proxy.counts)}"
        )

        assert self.store.count() == EVENTS, "lost from the log, or logged twice"
        events = [derived_id("event", self.bundle.contract.name, f"event-{n}") for n in range(0, EVENTS, 2)]
        assert len(self.store.get_many(events)) == len(events)
        pseudonym = pseudonyms(self.bundle.contract, pseudonym_key)
        assert by_event.keys() == {pseudonym(f"customer-{n}") for n in range(EVENTS)}
        assert all(len(answers) == 1 for answers in by_event.values()), "an answer was repeated with other contents"
        assert len(letters) == POISON
        assert sorted(reasons.elements()) == sorted(_reason(data) for data in self.poison_sent)
        assert self.moved_back == []

    def close(self) -> None:
        self.over.set()
        self.producing.set()
        self.begun.release(self.harms + 1)
        for worker in self.workers:
            worker.kill()
            worker.wait()
        self.proxy.close()
        self.store.close()
        if self.store_url.startswith("mongodb"):
            import pymongo

            with pymongo.MongoClient(self.store_url) as client:
                client.drop_database(self.prefix)

    def _plan(self) -> list[Callable[[], None]]:
        """The harms in an order drawn by the seed, the split before the merge."""
        harms: list[Callable[[], None]] = [self._kill] * KILLS + [self._pause] * PAUSES
        harms += [self._take_store_away, self._take_results_away]
        self.random.shuffle(harms)
        places = sorted(self.random.sample(range(len(harms)), 2))
        harms.insert(places[1], self._merge)
        harms.insert(places[0], self._split)
        return harms

    def _kill(self) -> None:
        """kill -9 at a random moment of work; another takes its place."""
        self._await_progress()
        time.sleep(self.random.uniform(0.0, 3.0))
        victim = self.workers.pop(self.random.randrange(len(self.workers)))
        victim.kill()
        victim.wait()
        self._start_worker()

    def _supervise(self) -> None:
        """As a service manager does: start another for one that ended by itself, as it may while the store is away."""
        for worker in [worker for worker in self.workers if worker.poll() is not None]:
            assert worker.returncode == 1
            self.workers.remove(worker)
            self._start_worker()

    def _pause(self) -> None:
        """SIGSTOP for longer than the lease: the zombie wakes up in the middle of its batch."""
        self._await_progress()
        victim = self.random.choice(self.workers)
        victim.send_signal(signal.SIGSTOP)
        time.sleep(2 * LEASE_SECONDS)
        victim.send_signal(signal.SIGCONT)

    def _await_progress(self) -> None:
        """Until something more is logged, so that harm is done to workers at work and not to starting ones."""
        before = self.store.count()

        def progress() -> bool:
            self._supervise()
            return self.store.count() > before or before == EVENTS

        _wait_for(progress, 90, "progress")

    def _split(self) -> None:
        self.client.split_shard(
            StreamName=self._name("in"), ShardToSplit="shardId-000000000000", NewStartingHashKey=str(2**125)
        )
        _wait_for(lambda: len(self._shards("in")) == 6, 10, "the split")

    def _merge(self) -> None:
        self.client.merge_shards(
            StreamName=self._name("in"),
            ShardToMerge="shardId-000000000001",
            AdjacentShardToMerge="shardId-000000000002",
        )
        _wait_for(lambda: len(self._shards("in")) == 7, 10, "the merge")

    def _take_results_away(self) -> None:
        self.proxy.away.add(self._name("out"))
        time.sleep(OUTAGE_SECONDS)
        self.proxy.away.clear()

    def _take_store_away(self) -> None:
        if self.store_url.startswith("mongodb"):
            self.gate.shut(OUTAGE_SECONDS)
            return
        other = sqlite3.connect(self.folder / "store.db", isolation_level=None, timeout=30)
        other.execute("BEGIN IMMEDIATE")  # every writer now fails after its timeout
        time.sleep(OUTAGE_SECONDS)
        other.execute("ROLLBACK")
        other.close()

    def _produce(self) -> None:
        """Half of the events carry an event_id; the others are known by where they lie in the stream."""
        random = Random(SEED + 1)
        customers = records(random_customers(self.bundle.contract, 1000, seed=4), self.bundle.contract)
        payloads = [
            json.dumps(
                customers[n % 1000]
                | {"customer_id": f"customer-{n}"}
                | ({"event_id": f"event-{n}"} if n % 2 == 0 else {})
            ).encode()
            for n in range(EVENTS)
        ]
        self.poison_sent = [random.choice(POISONS) for _ in range(POISON)]
        for data in self.poison_sent:
            payloads.insert(random.randrange(len(payloads)), data)
        groups = [payloads[at : at + 100] for at in range(0, len(payloads), 100)]
        for number, group in enumerate(groups):
            if number * self.harms // len(groups) > (number - 1) * self.harms // len(groups):
                self.begun.acquire()  # a share of the events for each harm, so that none is done to idle workers
            entries = [{"Data": data, "PartitionKey": f"{number}-{at}"} for at, data in enumerate(group)]
            assert self.client.put_records(StreamName=self._name("in"), Records=entries)["FailedRecordCount"] == 0
            if self.producing.wait(0.1):
                return

    def _watch_checkpoints(self) -> None:
        """Looks at the checkpoints as often as it can, with a connection of its own."""
        newest: dict[str, int] = {}
        watcher = open_store(self.store_url, timeout_seconds=60)
        while not self.over.wait(0.05):
            for state in watcher.shards(self._consumer()):
                now = int(state.sequence_number or 0)
                if now < newest.get(state.shard_id, 0):
                    self.moved_back.append(f"{state.shard_id}: {newest[state.shard_id]} -> {now}")
                self.checkpoints_seen += now > newest.get(state.shard_id, 0)
                newest[state.shard_id] = max(now, newest.get(state.shard_id, 0))
        watcher.close()

    def _drain(self) -> None:
        """What lies between a result and its checkpoint when the last worker stopped."""
        self.proxy.server_errors = self.proxy.cuts = self.proxy.expiries = self.proxy.refused_entries = (
            self.proxy.delays
        ) = 0.0
        last = self._start_worker("--once")
        assert last.wait(120) == 0

    def _start_worker(self, *arguments: str) -> subprocess.Popen[bytes]:
        self.started += 1
        env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            "AWS_ENDPOINT_URL": self.proxy.url,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "CHURNWATCH_HOME": str(self.folder),
            "BUNDLE_CACHE": str(self.folder / "cache"),
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}",
            "RUN_ID": self.bundle.run_id,
            "STORE_URL": self._worker_store_url(),
            "STORE_TIMEOUT_SECONDS": "1",
            "PSEUDONYM_KEY": pseudonym_key().decode(),
            "INPUT_STREAM": self._name("in"),
            "RESULTS_STREAM": self._name("out"),
            "DEAD_LETTER_STREAM": self._name("dead"),
            "LEASE_SECONDS": str(LEASE_SECONDS),
            "STREAM_METRICS_PORT": "0",
            "BATCH_RECORDS": "200",
        }
        path = self.folder / f"worker-{self.started}.log"
        log = path.open("wb")
        program = [sys.executable, "-m", "stream_service", *arguments]
        worker = subprocess.Popen(program, cwd=ROOT, env=env, stdout=log, stderr=log)
        self.logs[worker.pid] = path
        self.workers.append(worker)
        return worker

    def _store_url(self) -> str:
        if os.environ.get("CHAOS_STORE") != "mongodb":
            return f"sqlite:///{self.folder / 'store.db'}"
        uri = os.environ.get("MONGODB_URI")
        if not uri:
            pytest.skip("CHAOS_STORE=mongodb needs MONGODB_URI")
        host, _, port = uri.removeprefix("mongodb://").rstrip("/").partition(":")
        self.gate = Gate(host, int(port))
        return f"{uri.rstrip('/')}/{self.prefix}"

    def _worker_store_url(self) -> str:
        """MongoDB is reached through a gate that can be shut."""
        if not self.store_url.startswith("mongodb"):
            return self.store_url
        return f"mongodb://127.0.0.1:{self.gate.port}/{self.prefix}?directConnection=true"

    def _consumer(self) -> str:
        summary = self.client.describe_stream_summary(StreamName=self._name("in"))["StreamDescriptionSummary"]
        return f"churnwatch/{self._name('in')}@{int(summary['StreamCreationTimestamp'].timestamp())}"

    def _owners(self) -> int:
        return len({state.owner for state in self.store.shards(self._consumer()) if state.owner})

    def _both_at_work(self) -> bool:
        """Started as far as to take a SIGTERM in good order; a lease may still be that of a killed one."""
        self._supervise()
        return all(b"stream_service_started" in self.logs[worker.pid].read_bytes() for worker in self.workers)

    def _all_logged(self) -> bool:
        self._supervise()
        return self.store.count() >= EVENTS and len({d["dead_letter_id"] for d in self._read("dead")}) >= POISON

    def _name(self, stream: str) -> str:
        return f"{self.prefix}-{stream}"

    def _shards(self, stream: str) -> list[dict[str, Any]]:
        return self.client.list_shards(StreamName=self._name(stream)).get("Shards", [])  # type: ignore[no-any-return]

    def _read(self, stream: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for shard in self._shards(stream):
            answer = self.client.get_shard_iterator(
                StreamName=self._name(stream), ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
            )
            iterator = answer["ShardIterator"]
            while iterator:
                page = self.client.get_records(ShardIterator=iterator, Limit=10_000)
                found += [json.loads(record["Data"]) for record in page["Records"]]
                iterator = page.get("NextShardIterator") if page["Records"] else None
        return found


class Gate:
    """A TCP relay that can be shut: connections are cut and refused until it opens again."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._shut = False
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def shut(self, seconds: float) -> None:
        self._shut = True
        for connection in list(self._open):
            connection.close()
        time.sleep(seconds)
        self._shut = False

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            if self._shut:
                client.close()
                continue
            server = socket.create_connection(self._target)
            self._open |= {client, server}
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._relay, args=(source, target), daemon=True).start()

    def _relay(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            pass  # the gate was shut, or one side went away: the other is told below
        for connection in (source, target):
            self._open.discard(connection)
            connection.close()


def _reason(data: bytes) -> str:
    return ("not_json", "not_an_object", "wrong_fields", "too_large")[POISONS.index(data)]


def _wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        time.sleep(0.1)
