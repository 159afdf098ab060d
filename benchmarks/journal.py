"""What a durable append costs: one sync a group on different files, and ways to form the groups, side by side.

python -m benchmarks.journal [FOLDER]
"""

from __future__ import annotations

import os
import resource
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.subject import machine, percentiles
from churn.journal import Journal
from churn.journal.segment import SegmentWriter

RECORD = b"x" * 800
ROUNDS = 3
SECONDS = 1.0
WORK = range(3_000)
"""Summed before each append: about 40 us of other work under the interpreter's lock, as a request has."""
Append = Callable[[bytes], None]


@contextmanager
def one_sync_each(folder: Path) -> Iterator[Append]:
    """A lock around write and sync: no groups at all."""
    segment, lock = SegmentWriter(folder / "each.log", 1, 1 << 30, 0.0), threading.Lock()

    def append(record: bytes) -> None:
        with lock:
            segment.append([([record], False)])

    yield append


@contextmanager
def writer_thread(folder: Path) -> Iterator[Append]:
    """A thread that writes for all: handlers queue their record and wait, each on a lock of its own."""
    segment, mutex, bell = (
        SegmentWriter(folder / "writer.log", 1, 1 << 30, 0.0),
        threading.Lock(),
        threading.Semaphore(0),
    )
    queue: list[tuple[bytes, threading.Lock]] = []
    state = {"idle": False, "stop": False}

    def write() -> None:
        while not state["stop"]:
            with mutex:
                group, queue[:] = list(queue), []
                state["idle"] = not group
            if not group:
                bell.acquire()
                continue
            segment.append([([record for record, _ in group], False)])
            for _, gate in group:
                gate.release()

    def append(record: bytes) -> None:
        gate = threading.Lock()
        gate.acquire()
        with mutex:
            queue.append((record, gate))
            ring, state["idle"] = state["idle"], False
        if ring:
            bell.release()
        gate.acquire()

    thread = threading.Thread(target=write)
    thread.start()
    yield append
    state["stop"] = True
    bell.release()
    thread.join()


@contextmanager
def leader(folder: Path, gather_seconds: float) -> Iterator[Append]:
    """The journal itself."""
    journal = Journal(folder / "journal", max_waiting_bytes=1 << 34, gather_seconds=gather_seconds)
    yield lambda record: journal.append([record])
    journal.folder.release()


def measure(append: Append, threads: int) -> dict[str, float]:
    """A closed loop of so many threads: appends a second, CPU of the whole process for each, and percentiles."""
    seconds: list[list[float]] = [[] for _ in range(threads)]
    stop = time.perf_counter() + SECONDS

    def client(mine: list[float]) -> None:
        while time.perf_counter() < stop:
            sum(WORK)
            started = time.perf_counter()
            append(RECORD)
            mine.append(time.perf_counter() - started)

    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    pool = [threading.Thread(target=client, args=(mine,)) for mine in seconds]
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join()
    after, took = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter() - started
    appended = sum(map(len, seconds))
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found = percentiles([second for mine in seconds for second in mine])
    return {"per_second": appended / took, "cpu_us": cpu / appended * 1e6, **found}


def syncs(folder: Path, size: int, prepare: Callable[[int], Any]) -> float:
    """Median microseconds of one write of `size` bytes and its fdatasync, on a file made ready by `prepare`."""
    file = os.open(folder / "sync.log", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    prepare(file)
    os.fsync(file)
    took, block = [], os.urandom(size)
    for number in range(300):
        started = time.perf_counter()
        os.pwrite(file, block, number * size)
        os.fdatasync(file)
        took.append(time.perf_counter() - started)
    os.close(file)
    return statistics.median(took) * 1e6


def main() -> None:
    print(f"{machine()}, {os.cpu_count()} cores; medians of {ROUNDS} rounds, taken in turn")
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as name:
        folder = Path(name)
        kinds: dict[str, Callable[[int], Any]] = {
            "growing file": lambda file: None,
            "space taken in advance": lambda file: os.posix_fallocate(file, 0, 8 << 20),
            "overwritten file": lambda file: os.pwrite(file, bytes(8 << 20), 0),
        }
        for kind, prepare in kinds.items():
            found = [f"{size} bytes {syncs(folder, size, prepare):.0f} us" for size in (1_024, 16_384)]
            print(f"{kind:>24}: write and fdatasync, {', '.join(found)}")
        ways: dict[str, Callable[[Path], Any]] = {
            "one sync each": one_sync_each,
            "writer thread": writer_thread,
            "leader": lambda place: leader(place, 0.0),
            "leader, gathering": lambda place: leader(place, 0.0005),
        }
        for threads in (1, 4, 16, 64):
            rounds: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
            for _ in range(ROUNDS):
                for way, opened in ways.items():
                    with tempfile.TemporaryDirectory(dir=folder) as place, opened(Path(place)) as append:
                        rounds[way].append(measure(append, threads))
            for way, all_found in rounds.items():
                median = {key: statistics.median(found[key] for found in all_found) for key in all_found[0]}
                facts = ", ".join(f"{key} {value:,.0f}" for key, value in median.items())
                print(f"{threads:3d} threads, {way:>18}: {facts}", flush=True)


if __name__ == "__main__":
    main()
