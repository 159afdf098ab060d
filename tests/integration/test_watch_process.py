"""The watch as it is run: a process that may be killed at any moment, over a store that may go away."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from churn.bundle import Bundle
from churn.prediction import Prediction
from churn.scoring import Scorer
from churn.store import PredictionStore, open_store
from tests.fakes import random_customers, records

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]
START = datetime.now(UTC) - timedelta(hours=2)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PredictionStore]:
    store = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    store.check()
    yield store
    store.close()


@pytest.fixture
def environment(tmp_path: Path, bundle: Bundle) -> dict[str, str]:
    """No MLflow anywhere: the bundle is in the cache, as after an earlier start."""
    cache = tmp_path / "cache"
    shutil.copytree(bundle.folder, cache / "bundles" / bundle.digest)
    (cache / "pointers").mkdir()
    (cache / "pointers" / bundle.run_id).write_text(json.dumps({"run_id": bundle.run_id, "digest": bundle.digest}))
    return {
        **os.environ,
        "CHURNWATCH_HOME": str(tmp_path),
        "STORE_URL": f"sqlite:///{tmp_path / 'store.db'}",
        "BUNDLE_CACHE": str(cache),
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
        "WINDOW_ROWS": "100",
        "WATCH_POLL_SECONDS": "0.1",
        "WATCH_LATENESS_SECONDS": "0",
        "WATCH_STALE_SECONDS": "86400",
        "EVIDENTLY_SECONDS": "0",
        "WATCH_PORT": str(free_port()),
    }


def send(store: PredictionStore, bundle: Bundle, rows: int, seed: int = 1, started: datetime = START) -> None:
    times = iter(started + timedelta(seconds=seed * 1_000 + index / 10) for index in range(rows))
    for record in records(random_customers(bundle.contract, rows, seed), bundle.contract):
        outcome = Scorer(bundle, lambda: next(times)).score_one(record, "http")
        assert isinstance(outcome, Prediction)
        store.save([outcome])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "monitoring", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)


def start(environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "monitoring"], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)


def eventually(question: Callable[[], Any], seconds: float = 60.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := question():
            return answer
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds:.0f} s")


def test_killed_in_the_middle_it_loses_no_window_and_judges_none_twice(
    store: PredictionStore, bundle: Bundle, environment: dict[str, str]
) -> None:
    send(store, bundle, 2_000)
    for judged_before in (3, 9):
        process = start(environment)
        eventually(lambda judged_before=judged_before: len(store.documents("verdict")) >= judged_before)
        process.kill()
        process.wait()
    last = start(environment)
    eventually(lambda: len(store.documents("verdict")) >= 20)
    last.send_signal(signal.SIGTERM)
    code = last.wait(30)
    documents = store.documents("verdict", newest_first=False)

    assert code == 0
    assert [(d["number"], d["rows"]) for d in documents] == [(number, 100) for number in range(20)]
    assert [d["after"] for d in documents[1:]] == [d["last"] for d in documents[:-1]]


def test_once_judges_and_ends_and_status_and_judge_tell_the_same(
    store: PredictionStore, bundle: Bundle, environment: dict[str, str]
) -> None:
    send(store, bundle, 250)
    once = run(environment, "--once")
    again = run(environment, "--once")
    status = json.loads(run(environment, "status", "--json").stdout)
    span = ("--from", START.isoformat(), "--to", datetime.now(UTC).isoformat())
    judged = json.loads(run(environment, "judge", *span, "--json").stdout)
    segments = run(environment, "segments", status["runs"][0]["window"]["key"])
    nothing = run(environment, "judge", "--from", "2020-01-01", "--to", "2020-01-02")

    assert (once.returncode, len(once.stdout.splitlines()), again.stdout) == (0, 2, "")
    assert (status["runs"][0]["state"], status["runs"][0]["window"]["rows"]) == ("ok", 100)
    assert (judged["state"], judged["rows"], judged["drifted"]) == ("ok", 250, [])
    assert (segments.returncode, segments.stdout) == (0, "no segment changed\n")
    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert "no predictions in that window" in nothing.stderr


def test_a_store_that_takes_nothing_for_a_while_is_waited_for(
    store: PredictionStore, bundle: Bundle, environment: dict[str, str], tmp_path: Path
) -> None:
    """The window closes while another connection holds the store's lock, three seconds after its last prediction."""
    send(store, bundle, 100)
    process = start(environment | {"WATCH_LATENESS_SECONDS": "3", "STORE_TIMEOUT_SECONDS": "0.2"})
    try:
        eventually(lambda: len(store.documents("verdict")) == 1)
        url = f"http://127.0.0.1:{environment['WATCH_PORT']}/metrics"
        send(store, bundle, 100, started=datetime.now(UTC) - timedelta(seconds=1_000 + 5))  # time to take the lock
        with closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            eventually(lambda: b"watch_poll_failures_total 0.0" not in urllib.request.urlopen(url, timeout=10).read())
            other.execute("ROLLBACK")
        eventually(lambda: len(store.documents("verdict")) == 2)
    finally:
        process.terminate()

        assert process.wait(30) == 0


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("WINDOW_ROWS", "-1", "WINDOW_ROWS=-1"),
        ("STORE_URL", "postgres://x", "expected sqlite:///PATH or mongodb://"),
    ],
)
def test_a_wrong_setting_ends_with_one_sentence(
    environment: dict[str, str], variable: str, value: str, sentence: str
) -> None:
    ended = run({**environment, variable: value}, "--once")

    assert ended.returncode == 1
    assert ended.stderr.startswith("error: ")
    assert sentence in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
