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
from pathlib import Path
from typing import Any

import numpy as np
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
from stream_service.records import Entry, Position
from stream_service.service import Service

RESULT = b"x" * 330  # about as long as a result is


def end_to_end(model: Bundle, folder: Path, data: list[bytes]) -> dict[str, Any]:
    """Records a second over a backlog, with store and results, beside a loop that only reads and writes."""
    kinesis = Kinesis(connect())
    for stream in ("floor-in", "floor-out", "predictions", "results", "dead-letters"):
        kinesis.ensure(stream, 2)
    entries = [Entry(str(number), one) for number, one in enumerate(data)]
    for stream in ("floor-in", "predictions"):
        put(kinesis, stream, entries)
    floor = len(data) / _timed(lambda: _floor(kinesis, "floor-in", "floor-out"))
    store = open_store(f"sqlite:///{folder / 'bench.db'}")
    store.check()
    registry = CollectorRegistry()
    metrics, scorer = StreamMetrics(registry), Scorer(model, key=lambda: b"exemplary" * 8)
    parts = Parts(kinesis, store, lambda: scorer, metrics, AnswerMetrics(registry), Health(metrics, 300.0))
    service = Service(StreamSettings(), parts, "benchmark")
    running = threading.Thread(target=service.run)

    def answer_all() -> None:
        running.start()
        _wait_until(lambda: registry.get_sample_value("churnwatch_stream_results_total") == len(data), 600)

    ours = len(data) / _timed(answer_all)
    service.stop()
    running.join()
    assert store.count() == len(data)
    store.close()
    print(f"  end to end: {ours:,.0f} records/s; only reading and writing {floor:,.0f}; {ours / floor:.0%} of it")
    return {"records": len(data), "per_second": round(ours), "floor": round(floor), "share": round(ours / floor, 3)}


def latency(model: Bundle, folder: Path, data: list[bytes], rate: int) -> dict[str, Any]:
    """Events put at a steady rate; each one's time from before its put until its result was read."""
    kinesis = Kinesis(connect())
    for stream in ("live", "live-results", "dead-letters"):
        kinesis.ensure(stream, 2)
    put_at: dict[str, float] = {}
    read_at: dict[str, float] = {}
    over = threading.Event()
    reader = threading.Thread(target=_collect, args=(kinesis, "live-results", read_at, over))
    with _service(model, folder):
        put(kinesis, "live", [Entry("first", data[0])])
        reader.start()
        _wait_until(lambda: bool(read_at), 60)  # it is up
        began = time.monotonic()
        for at in range(1, len(data), 25):
            time.sleep(max(0.0, began + at / rate - time.monotonic()))
            group = range(at, min(at + 25, len(data)))
            put_at |= dict.fromkeys([f"e-{number}" for number in group], time.monotonic())
            put(kinesis, "live", [Entry(str(number), data[number]) for number in group])
        _wait_until(lambda: len(read_at) == len(data), 60)
        over.set()
        reader.join()
    p50, p95, p99 = (float(v) for v in np.percentile([read_at[e] - put_at[e] for e in put_at], [50, 95, 99]))
    print(f"  at {rate} events/s, put to result read: p50 {p50:.2f} s, p95 {p95:.2f} s, p99 {p99:.2f} s")
    return {"rate": rate, "p50_s": round(p50, 3), "p95_s": round(p95, 3), "p99_s": round(p99, 3)}


@contextmanager
def emulator(folder: Path) -> Iterator[None]:
    """ministack on a free port of loopback; the environment of this process leads to it meanwhile."""
    port = _free_port()
    env = os.environ | {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "SERVICES": "kinesis"}
    url = f"http://127.0.0.1:{port}"
    with (folder / "emulator.log").open("w") as log:
        process = subprocess.Popen([str(Path(sys.executable).parent / "ministack")], env=env, stdout=log, stderr=log)
        try:
            _wait_until(lambda: _answers(url), 30)
            os.environ |= {"AWS_ENDPOINT_URL": url, "AWS_DEFAULT_REGION": "us-east-1"}
            os.environ |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
            yield
        finally:
            process.kill()
            process.wait()


@contextmanager
def _service(model: Bundle, folder: Path) -> Iterator[None]:
    """A process of its own, its model from a cache as after an earlier start."""
    cache = folder / "cache"
    (cache / "bundles").mkdir(parents=True)
    (cache / "bundles" / model.digest).symlink_to(model.folder)
    (cache / "pointers").mkdir()
    pointer = {"run_id": model.run_id, "digest": model.digest}
    (cache / "pointers" / model.run_id).write_text(json.dumps(pointer))
    settings = {
        "CHURNWATCH_HOME": str(folder),
        "BUNDLE_CACHE": str(cache),
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{_free_port()}",
        "RUN_ID": model.run_id,
        "STORE_URL": f"sqlite:///{folder / 'live.db'}",
        "STREAM_METRICS_PORT": "0",
        "INPUT_STREAM": "live",
        "RESULTS_STREAM": "live-results",
    }
    with (folder / "service.log").open("w") as log:
        program = [sys.executable, "-m", "stream_service"]
        process = subprocess.Popen(program, env=os.environ | settings, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            process.wait(30)


def _floor(kinesis: Kinesis, source: str, target: str) -> None:
    """Read the whole stream and write one result for each record, and nothing else."""
    for shard in kinesis.shards(source):
        iterator: str | None = kinesis.iterator(source, shard.shard_id, Position())
        while iterator is not None:
            read = kinesis.read(source, shard.shard_id, iterator)
            if not read.records:
                break
            put(kinesis, target, [Entry(record.partition_key, RESULT) for record in read.records])
            iterator = read.next_iterator


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


def _wait_until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:g} s in vain")
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
