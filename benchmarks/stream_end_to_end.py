"""The stream service against an emulator: its share of what the emulator can do at all, and its latency."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import boto3
import numpy as np
import orjson
from prometheus_client import CollectorRegistry

from churn.bundle import Bundle
from churn.metrics import AnswerMetrics, StreamMetrics
from churn.scoring import Scorer
from churn.settings import StreamSettings
from churn.store import open_store
from stream_service.commands import put
from stream_service.health import Health
from stream_service.kinesis import Kinesis, connect
from stream_service.parts import Parts
from stream_service.pipeline import result_json
from stream_service.reader import ShardReader
from stream_service.records import Entry, Position
from stream_service.service import Service

SHARDS = 2
ROUNDS = 3
EPHEMERAL = {"AWS_DEFAULT_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


def end_to_end(model: Bundle, folder: Path, data: list[bytes]) -> dict[str, Any]:
    """Records a second over a backlog, with store and results, beside loops that only read and write as many bytes.

    By turns, so that all meet the same machine and an emulator that holds about as much. There are two floors: a loop
    with boto3 as it comes, and one that also has our quicker way with records (stream_service/wire.py).
    """
    kinesis, plain = Kinesis(connect()), Kinesis(boto3.client("kinesis"))
    scorer = Scorer(model, key=lambda: b"exemplary" * 8)
    result = b"x" * len(result_json(scorer.score_one(orjson.loads(data[0]), "stream", "0" * 32)))
    contestants: dict[str, Callable[[str], None]] = {
        "loop_with_boto3": lambda stream: _read_and_write(plain, stream, result),
        "service": lambda stream: _service_answers(kinesis, scorer, folder, stream, len(data)),
        "loop_quickened": lambda stream: _read_and_write(kinesis, stream, result),
    }
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(ROUNDS):
        for name, contestant in contestants.items():
            stream = f"{name}-{number}"
            for absent in (stream, f"{stream}-results"):
                kinesis.ensure(absent, SHARDS)
            put(kinesis, stream, [Entry(str(n), one) for n, one in enumerate(data)])
            rates[name].append(len(data) / _timed(partial(contestant, stream)))
    found = {name: median(some) for name, some in rates.items()}
    shares = {name: found["service"] / found[name] for name in ("loop_with_boto3", "loop_quickened")}
    print(f"  end to end: {found['service']:,.0f} records/s, median of {ROUNDS} rounds of {len(data):,} records")
    for name, share in shares.items():
        print(
            f"  only reading and writing, {name.replace('_', ' ')}: {found[name]:,.0f}; the service: {share:.0%} of it"
        )
    return {
        "records": len(data),
        "shards": SHARDS,
        "result_bytes": len(result),
        "per_second": {name: round(rate) for name, rate in found.items()},
        "rounds": {name: [round(rate) for rate in some] for name, some in rates.items()},
        "share_of": {name: round(share, 3) for name, share in shares.items()},
    }


def _service_answers(kinesis: Kinesis, scorer: Scorer, folder: Path, stream: str, count: int) -> None:
    """The service within this process, from its start until every result is put and it has stopped."""
    store = open_store(f"sqlite:///{folder / stream}.db")
    store.check()
    registry = CollectorRegistry()
    metrics = StreamMetrics(registry)
    parts = Parts(kinesis, store, lambda: scorer, metrics, AnswerMetrics(registry), Health(metrics, 300.0))
    settings = StreamSettings(input_stream=stream, results_stream=f"{stream}-results")
    service = Service(settings, parts, "benchmark")
    running = threading.Thread(target=service.run)
    running.start()
    wait_until(lambda: registry.get_sample_value("churnwatch_stream_results_total") == count, 600)
    service.stop()
    running.join()
    assert store.count() == count
    store.close()


def latency(model: Bundle, folder: Path, data: list[bytes], rate: int) -> dict[str, Any]:
    """Events put at a steady rate; each one's time from before its put until its result was read."""
    kinesis = Kinesis(connect())
    for stream in ("live", "live-results", "dead-letters"):
        kinesis.ensure(stream, 2)
    put_at: dict[str, float] = {}
    read_at: dict[str, float] = {}
    over = threading.Event()
    reader = threading.Thread(target=_collect, args=(kinesis, "live-results", read_at, over))
    with running_service(model, folder / "live", {"INPUT_STREAM": "live", "RESULTS_STREAM": "live-results"}):
        put(kinesis, "live", [Entry("first", data[0])])
        reader.start()
        wait_until(lambda: bool(read_at), 60)  # it is up
        began = time.monotonic()
        for at in range(1, len(data), 25):
            time.sleep(max(0.0, began + at / rate - time.monotonic()))
            group = range(at, min(at + 25, len(data)))
            put_at |= dict.fromkeys([f"e-{number}" for number in group], time.monotonic())
            put(kinesis, "live", [Entry(str(number), data[number]) for number in group])
        wait_until(lambda: len(read_at) == len(data), 60)
        over.set()
        reader.join()
    p50, p95, p99 = (float(v) for v in np.percentile([read_at[e] - put_at[e] for e in put_at], [50, 95, 99]))
    print(f"  at {rate} events/s, put to result read: p50 {p50:.2f} s, p95 {p95:.2f} s, p99 {p99:.2f} s")
    return {"rate": rate, "p50_s": round(p50, 3), "p95_s": round(p95, 3), "p99_s": round(p99, 3)}


@contextmanager
def emulator(folder: Path) -> Iterator[None]:
    """ministack on a free port of loopback; the environment of this process leads to it meanwhile."""
    port = free_port()
    env = os.environ | {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "SERVICES": "kinesis"}
    url = f"http://127.0.0.1:{port}"
    with (folder / "emulator.log").open("w") as log:
        process = subprocess.Popen([str(Path(sys.executable).parent / "ministack")], env=env, stdout=log, stderr=log)
        try:
            wait_until(lambda: _answers(url), 30)
            os.environ |= {"AWS_ENDPOINT_URL": url} | EPHEMERAL
            yield
        finally:
            process.kill()
            process.wait()


@contextmanager
def running_service(model: Bundle, home: Path, settings: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process of its own, its model from a cache as after an earlier start; all it writes is under `home`."""
    cache = home / "cache"
    (cache / "bundles").mkdir(parents=True)
    (cache / "bundles" / model.digest).symlink_to(model.folder)
    (cache / "pointers").mkdir()
    pointer = {"run_id": model.run_id, "digest": model.digest}
    (cache / "pointers" / model.run_id).write_text(json.dumps(pointer))
    own = {
        "CHURNWATCH_HOME": str(home),
        "BUNDLE_CACHE": str(cache),
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}",
        "RUN_ID": model.run_id,
        "STORE_URL": f"sqlite:///{home / 'predictions.db'}",
        "STREAM_METRICS_PORT": "0",
    }
    with (home / "service.log").open("w") as log:
        program = [sys.executable, "-m", "stream_service"]
        process = subprocess.Popen(program, env=os.environ | own | settings, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)


def _read_and_write(kinesis: Kinesis, stream: str, result: bytes) -> None:
    """Read shard after shard and write one result for each record, nothing else: one loop, as often as AWS allows."""
    for shard in kinesis.shards(stream):
        reader, behind = ShardReader(kinesis, stream, shard, Position()), 1
        while behind:
            time.sleep(reader.due_in_seconds())
            read = reader.read()
            put(kinesis, f"{stream}-results", [Entry(record.partition_key, result) for record in read.records])
            behind = read.behind_milliseconds


def _collect(kinesis: Kinesis, stream: str, read_at: dict[str, float], over: threading.Event) -> None:
    """Note when each result is first seen, reading each shard five times a second."""
    iterators = {
        shard.shard_id: kinesis.iterator(stream, shard.shard_id, Position()) for shard in kinesis.shards(stream)
    }
    while not over.wait(0.2):
        for shard_id, iterator in iterators.items():
            read = kinesis.read(stream, shard_id, iterator)
            iterators[shard_id] = read.next_iterator or iterator
            now = time.monotonic()
            for record in read.records:
                read_at.setdefault(json.loads(record.data)["event_id"], now)


def _timed(step: Callable[[], object]) -> float:
    started = time.monotonic()
    step()
    return time.monotonic() - started


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=1)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:g} s in vain")
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
