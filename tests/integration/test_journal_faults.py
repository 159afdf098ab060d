"""The promise under fire: processes killed, disks full, stores stuck; every acknowledged record is stored once."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from churn.journal import Journal, Shipper, host_stats
from churn.journal.folder import adopt_folders
from churn.store import open_store

pytestmark = pytest.mark.integration

WORKER = """
import os, sys, threading, time
from datetime import UTC, datetime
from pathlib import Path

from churn.errors import JournalFull
from churn.journal import Journal, Shipper
from churn.prediction import Prediction, to_json
from churn.store import open_store

folder, name, threads, seconds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
store = open_store(f"sqlite:///{folder}/store.db")
journal = Journal(folder / "journal", segment_bytes=60_000)
Shipper(journal, store, interval_seconds=0.02, adopt_seconds=0.1, batch_records=100).start()
# Page cache, as a client's memory: it outlives the kill of this process and needs no sync.
acknowledged = os.open(folder / "acknowledged", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
stop = time.monotonic() + seconds


def client(thread):
    number = 0
    while time.monotonic() < stop:
        ids = [f"{name}-{thread}-{number}-{part}" for part in range(1 + number % 3)]
        payloads = [
            to_json(Prediction(
                prediction_id=i, created_at=datetime.now(UTC), contract="c", contract_hash="h", model_run_id="r",
                route="http", features={"age": 41, "note": "x" * 200}, churn_probability=0.1, churn=False,
                threshold=0.5, latency_seconds=0.001,
            ))
            for i in ids
        ]
        try:
            journal.append(payloads)
        except JournalFull:
            os.write(refused, b"".join(i.encode() + b"\\n" for i in ids))
            time.sleep(0.02)
        else:
            os.write(acknowledged, b"".join(i.encode() + b"\\n" for i in ids))
        number += 1


refused = os.open(folder / "refused", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
pool = [threading.Thread(target=client, args=(thread,)) for thread in range(threads)]
for thread in pool:
    thread.start()
print("ready", flush=True)
for thread in pool:
    thread.join()
journal.close(drain_seconds=20)
"""


def start(folder: Path, name: str, *, threads: int = 4, seconds: float = 60.0) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(folder), name, str(threads), str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def ids(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def settle(folder: Path, deadline_seconds: float = 60.0) -> None:
    """What a restarted service does: adopt and ship until nothing waits."""
    store = open_store(f"sqlite:///{folder / 'store.db'}")
    journal = Journal(folder / "journal")
    shipper = Shipper(journal, store)
    give_up = time.monotonic() + deadline_seconds
    shipper.adopt()
    while host_stats(folder / "journal", time.monotonic()).waiting or shipper.ship_once():
        shipper.ship_once()
        assert time.monotonic() < give_up, host_stats(folder / "journal", time.monotonic())
    journal.close()
    store.close()


def check(folder: Path) -> int:
    """All that was acknowledged is stored once, and the books agree with the store; says how many records."""
    stored = [row[0] for row in sqlite3.connect(folder / "store.db").execute("SELECT prediction_id FROM predictions")]
    acknowledged = ids(folder / "acknowledged")
    stats = host_stats(folder / "journal", time.monotonic())
    assert len(stored) == len(set(stored))
    assert set(acknowledged) - set(stored) == set()
    assert len(acknowledged) == len(set(acknowledged))
    assert stats.accepted == stats.shipped + stats.waiting + sum(stats.rejected.values())
    assert (stats.waiting, stats.rejected) == (0, {})
    assert stats.shipped == len(stored)
    return len(acknowledged)


def test_twenty_kills_under_load_lose_nothing_and_store_nothing_twice(tmp_path: Path) -> None:
    """Two processes on one folder; one of them is killed each time, at a random moment, and replaced."""
    dice = random.Random(20)
    processes = [start(tmp_path, f"w{number}") for number in range(2)]
    try:
        for kill in range(20):
            time.sleep(dice.uniform(0.02, 0.4))
            victim = processes.pop(0)
            os.kill(victim.pid, signal.SIGKILL)
            victim.wait()
            processes.append(start(tmp_path, f"w{kill + 2}"))
    finally:
        for process in processes:
            process.kill()
            process.wait()

    settle(tmp_path)

    assert check(tmp_path) > 1_000


def test_a_paused_process_keeps_its_folder_and_goes_on(tmp_path: Path) -> None:
    paused = start(tmp_path, "paused", seconds=2.0)
    os.kill(paused.pid, signal.SIGSTOP)
    try:
        assert list(adopt_folders(tmp_path / "journal")) == []
    finally:
        os.kill(paused.pid, signal.SIGCONT)
    assert paused.wait(60) == 0

    assert check(tmp_path) > 0


def test_a_store_held_by_another_process_costs_no_append(tmp_path: Path) -> None:
    """Someone keeps the store's write lock for three seconds: appends go on as before, and all is shipped after."""
    worker = start(tmp_path, "w", seconds=4.0)
    deadline = time.monotonic() + 20
    while not (tmp_path / "store.db").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    holder = sqlite3.connect(tmp_path / "store.db", isolation_level=None, timeout=10)
    holder.execute("BEGIN IMMEDIATE")
    before = len(ids(tmp_path / "acknowledged"))
    time.sleep(3)
    during = len(ids(tmp_path / "acknowledged")) - before
    holder.execute("ROLLBACK")
    holder.close()

    assert worker.wait(60) == 0
    assert during > 100
    check(tmp_path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of three megabytes; where the tests may not mount one, the test is skipped."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("no right to mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_refuses_what_it_cannot_keep_and_recovers_when_there_is_room(
    tmp_path: Path, small_disk: Path
) -> None:
    """The journal's disk fills up because the store is stuck; then space is made, then the store comes back."""
    (tmp_path / "journal").symlink_to(small_disk)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1 << 20))
    open_store(f"sqlite:///{tmp_path / 'store.db'}").check()
    holder = sqlite3.connect(tmp_path / "store.db", isolation_level=None, timeout=10)
    holder.execute("BEGIN IMMEDIATE")
    worker = start(tmp_path, "w", seconds=8.0)

    _until(lambda: len(ids(tmp_path / "refused")) > 20)
    full = len(ids(tmp_path / "acknowledged"))
    ballast.unlink()
    _until(lambda: len(ids(tmp_path / "acknowledged")) > full + 20)
    holder.execute("ROLLBACK")
    holder.close()

    assert worker.wait(60) == 0
    assert check(tmp_path) > full
    stored = {row[0] for row in sqlite3.connect(tmp_path / "store.db").execute("SELECT prediction_id FROM predictions")}
    assert stored.isdisjoint(ids(tmp_path / "refused"))


def _until(is_so: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.02)
