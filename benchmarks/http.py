"""The HTTP service beside its peers, in one run: `make bench-http`.

All serve the same trees to the same row with two workers. wrk asks them in turns, in a process of its own; figures
are medians over the rounds. CPU is user and system time of all processes of a server; ours is counted until its
journal has run empty, so that bringing every record to the store is in it.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import urllib3

from benchmarks.contestants import CONTESTANTS, WORKERS, Contestant, NotInstallable, Subject, environment, install
from benchmarks.http_report import show, write
from benchmarks.load import Load, drive
from benchmarks.machine import facts
from benchmarks.processes import Server, ServerError, cpu_between, free_port
from benchmarks.subject import DEPTH, TREES, bundle, records
from churn.journal import host_stats
from churn.settings import HOME

CONTRACT = "credit_card"
START_SECONDS = 120.0
DRAIN_SECONDS = 60.0
LIST_ROWS = 10_000
LIST_REPEATS = 5
TOLERANCE = 1e-5
RESULTS = Path(__file__).parent / "results"


@dataclass
class Entry:
    """A contestant that runs, or the reason why it does not."""

    contestant: Contestant
    server: Server | None = None
    url: str = ""
    folder: Path = Path()
    body: Path = Path()
    reason: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    runs: dict[int, list[dict[str, float]]] = field(default_factory=dict)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # unwinds, and so ends the servers
    HOME.mkdir(exist_ok=True)
    chosen = _chosen(options.only)
    with tempfile.TemporaryDirectory(prefix="bench-http-", dir=HOME) as folder, ExitStack() as servers:
        subject = _subject(Path(folder).resolve())
        entries = [_start(contestant, subject, servers) for contestant in chosen]
        running = [entry for entry in entries if entry.server]
        for entry in running:
            _warm_up(entry)
        for number in range(options.rounds):
            for entry in running[number % len(running) :] + running[: number % len(running)]:
                _round(entry, options.seconds)
            print(f"round {number + 1} of {options.rounds} done", flush=True)
        for entry in running:
            _afterwards(entry, subject)
        document = _document(entries, options, subject)
    if not options.only or options.write:
        write(document, RESULTS)
    show(document)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds over all contestants (%(default)s)")
    parser.add_argument("--seconds", type=int, default=4, help="length of one measurement (%(default)s)")
    parser.add_argument("--only", help="names with commas, of: " + ", ".join(one.name for one in CONTESTANTS))
    parser.add_argument("--write", action="store_true", help="write results also of a run with --only")
    return parser


def _chosen(only: str | None) -> list[Contestant]:
    if not only:
        return [one for one in CONTESTANTS if "optional" not in one.tags]
    names = only.split(",")
    if unknown := set(names) - {one.name for one in CONTESTANTS}:
        sys.exit(f"--only {','.join(sorted(unknown))}: not known; see --help")
    return [one for one in CONTESTANTS if one.name in names]


def _subject(folder: Path) -> Subject:
    """The customer that the model is least sure of, so that a wrong answer shows."""
    model = bundle(folder / "bundle", CONTRACT)
    whole = [record for record in records(CONTRACT, 500, seed=5) if None not in record.values()]
    subjects = [Subject(model, {**record, "customer_id": "customer-000001"}, folder) for record in whole]
    return min(subjects, key=lambda subject: abs(subject.raw - 0.5))


def _start(contestant: Contestant, subject: Subject, servers: ExitStack) -> Entry:
    entry = Entry(contestant, folder=subject.folder / contestant.name)
    entry.folder.mkdir()
    entry.body = entry.folder / "body.json"
    entry.body.write_bytes(orjson.dumps(contestant.body(subject)))
    port = free_port()
    entry.url = f"http://127.0.0.1:{port}{contestant.path}"
    try:
        if contestant.venv:
            install(contestant.venv)
        contestant.prepare(port, subject, entry.folder)
        command = contestant.command(port, subject, entry.folder)
        variables = environment(contestant, port, subject, entry.folder)
        server = Server(command, variables, entry.folder, entry.folder / "server.log")
        servers.callback(server.stop)
        entry.facts["start_seconds"] = round(server.wait(lambda: _answers_rightly(entry, subject), START_SECONDS), 2)
        entry.server = server
        print(f"{contestant.name}: ready after {entry.facts['start_seconds']} s", flush=True)
    except NotInstallable as error:
        entry.reason = f"not installable: {error}"
    except ServerError as error:
        entry.reason = f"did not start: {error}"
    if entry.reason:
        print(f"{contestant.name}: {entry.reason}", file=sys.stderr, flush=True)
    return entry


def _answers_rightly(entry: Entry, subject: Subject) -> bool:
    """Whether it answers, and what it should."""
    status, content, _ = _post(entry.url, entry.body.read_bytes())
    if status != 200:
        return False
    found, expected = entry.contestant.answer(orjson.loads(content)), entry.contestant.expected(subject)
    if abs(found - expected) > TOLERANCE:
        raise ServerError(f"answered {found}, expected {expected}")
    return True


def _post(url: str, body: bytes) -> tuple[int, bytes, float]:
    """Status (0: nobody there), body and seconds."""
    started = time.perf_counter()
    try:
        headers = {"Content-Type": "application/json"}
        response = urllib3.request("POST", url, body=body, headers=headers, timeout=20.0, retries=False)
        return response.status, response.data, time.perf_counter() - started
    except urllib3.exceptions.HTTPError:
        return 0, b"", 0.0


def _warm_up(entry: Entry) -> None:
    for connections in entry.contestant.connections:
        drive(entry.url, entry.body, connections, 1)
    _drain(entry)


def _round(entry: Entry, seconds: float) -> None:
    """One measurement at each number of connections."""
    assert entry.server is not None
    for connections in entry.contestant.connections:
        before = entry.server.cpu_seconds()
        load = drive(entry.url, entry.body, connections, seconds)
        after = entry.server.cpu_seconds()
        drain_seconds = _drain(entry)
        answering = cpu_between(before, after)
        run = _figures(load, answering, cpu_between(after, entry.server.cpu_seconds()))
        entry.runs.setdefault(connections, []).append({**run, "drain_seconds": drain_seconds})


def _figures(load: Load, answering: float, draining: float) -> dict[str, float]:
    requests = max(1, load.requests)
    return {
        "requests_per_second": load.requests_per_second,
        "p50_ms": load.p50_ms,
        "p99_ms": load.p99_ms,
        "max_ms": load.max_ms,
        "cpu_us_per_request": (answering + draining) / requests * 1e6,
        "cpu_us_per_request_under_load": answering / requests * 1e6,
        "requests": load.requests,
        "refused": load.refused,
        "broken": load.broken,
    }


def _drain(entry: Entry) -> float:
    """Wait until a journal, where there is one, has run empty; says how long that took."""
    started = time.monotonic()
    if "journal" in entry.contestant.tags:
        while host_stats(entry.folder / "journal", time.monotonic()).waiting:
            if time.monotonic() - started > DRAIN_SECONDS:
                raise ServerError(f"the journal did not run empty within {DRAIN_SECONDS:.0f} s")
            time.sleep(0.02)
    return time.monotonic() - started


def _afterwards(entry: Entry, subject: Subject) -> None:
    """What is measured once: memory after the load, a long list where lists are taken, the journal's counts."""
    assert entry.server is not None
    entry.facts["worker_memory_mb"] = round(entry.server.worker_memory_mb(), 1)
    entry.facts["memory_mb"] = round(entry.server.memory_mb(), 1)
    rows = [{**record, "customer_id": str(i)} for i, record in enumerate(records(CONTRACT, LIST_ROWS, seed=6))]
    if entry.contestant.name == "ours":
        body = orjson.dumps(rows)
        seconds = []
        for _ in range(LIST_REPEATS + 1):
            _drain(entry)  # one list alone, not the storing of the one before
            status, content, took = _post(entry.url, body)
            if status != 200:
                raise ServerError(f"a list of {LIST_ROWS} rows was answered {status}: {content[:200]!r}")
            seconds.append(took)
        entry.facts["list_of_10000_ms"] = round(statistics.median(seconds[1:]) * 1e3, 1)
    if "journal" in entry.contestant.tags:
        _drain(entry)
        stats = host_stats(entry.folder / "journal", time.monotonic())
        entry.facts |= {"accepted": stats.accepted, "stored": stats.shipped, "rejected": sum(stats.rejected.values())}


def _document(entries: Sequence[Entry], options: argparse.Namespace, subject: Subject) -> dict[str, Any]:
    return {
        "command": f"python -m benchmarks.http --rounds {options.rounds} --seconds {options.seconds}",
        "machine": facts(subject.folder),
        "model": f"XGBoost, {TREES} trees of depth {DEPTH}; one row of {len(subject.row)} fields",
        "workers": WORKERS,
        "rounds": options.rounds,
        "seconds": options.seconds,
        "contestants": [
            {
                "name": entry.contestant.name,
                "title": entry.contestant.title,
                **({"reason": entry.reason} if entry.reason else {}),
                **entry.facts,
                "connections": {str(number): _medians(runs) for number, runs in entry.runs.items()},
            }
            for entry in entries
        ],
    }


def _medians(runs: Sequence[dict[str, float]]) -> dict[str, Any]:
    medians = {name: round(statistics.median(run[name] for run in runs), 3) for name in runs[0]}
    lows_and_highs = [min(run["requests_per_second"] for run in runs), max(run["requests_per_second"] for run in runs)]
    return {**medians, "requests_per_second_range": [round(value, 1) for value in lows_and_highs]}


if __name__ == "__main__":
    sys.exit(main())
