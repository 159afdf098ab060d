"""One and four Dask workers on the same trials, and a search whose workers are killed. Started by benchmarks.tune.

Everything is as in `TUNING_CLUSTER=local orchestration tune`: Prefect task runs on worker processes that read the
features from S3 and log whole bundles to MLflow; no more are handed out than there is room for. The two take turns,
and before them what the machine itself allows: the same fits alone, by one process and by two.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from churn.contract import load_contract
from churn.feature_store import FeatureStore
from churn.registry import Registry
from orchestration.families import make_families
from orchestration.families.family import Family
from orchestration.ingest import ingest
from orchestration.outcome import Outcome
from orchestration.runners import RunnerPool, open_runner
from orchestration.search import search
from orchestration.task_trials import POLL_SECONDS, Future
from orchestration.tracking import Tracker
from orchestration.training import fit_candidate
from orchestration.trials import Assignment, DataSpec, load
from orchestration.tuning import Plan, facts_of

POINTS = 32
WORKERS = 4
CORES = 2
ROUNDS = 3
KILL_EVERY = 10
FAMILIES = ("xgboost",)


def main(file: Path, trials: int) -> None:
    contract, features = load_contract("credit_card"), FeatureStore("churnwatch")
    version = ingest(file, contract, features, datetime.now(UTC), secrets.token_hex(4), 0.05).version
    spec = DataSpec("churnwatch", contract.text, "credit_card.toml", version, 7, 5)
    tracker = Tracker(Registry(os.environ["MLFLOW_TRACKING_URI"]))
    families = list(make_families(FAMILIES).values())
    facts = facts_of(load(spec), Plan(trials, FAMILIES), families)

    @contextlib.contextmanager
    def pool(workers: int) -> Iterator[tuple[RunnerPool, str]]:
        with tracker.tuning(contract, facts) as parent:
            uri = os.environ["MLFLOW_TRACKING_URI"]
            assignment = Assignment(spec, uri, parent, 1, 1, False, 600.0, 60.0)
            with open_runner("local", workers, lambda _: assignment) as opened:
                yield opened, parent

    told = _in_turns(spec, families[0], pool)
    with pool(WORKERS) as (opened, parent):
        killer = Killer(opened)
        outcomes = search(killer, families, trials, 7, show_progress=False)
        logged = tracker.outcomes(parent)
    statuses = [one.status for one in outcomes]
    told["killed"] = {
        "trials": trials,
        "workers_killed": killer.killed,
        "trials_lost": trials - statuses.count("finished"),
        "logged_whole": sum(one.trial is not None for one in logged),
    }
    print(json.dumps(told))


class Killer:
    """A pool that kills a busy worker with every tenth trial that it hands out."""

    lag = None

    def __init__(self, pool: RunnerPool) -> None:
        self._pool, self.killed = pool, 0

    def room(self) -> int:
        return self._pool.room()

    def submit(self, number: int, family: str, parameters: Mapping[str, Any], best: Outcome | None) -> Any:
        future = self._pool.submit(number, family, parameters, best)
        if number % KILL_EVERY == KILL_EVERY - 1:
            client = self._pool.runner.client
            pids, busy = client.run(os.getpid), [who for who, keys in client.processing().items() if keys]
            os.kill(pids[busy[0]], signal.SIGKILL)
            self.killed += 1
        return future


def _in_turns(spec: DataSpec, family: Family, pool: Callable[[int], Any]) -> dict[str, Any]:
    """Medians over the rounds; `ceiling` is how much faster the fits alone are with a process a core."""
    rounds = []
    for _ in range(ROUNDS):
        alone, together = _fits(spec, 1), _fits(spec, CORES)
        told: dict[str, Any] = {"fits_1": alone, f"fits_{CORES}": together, "ceiling": alone / together}
        for workers in (1, WORKERS):
            with pool(workers) as (opened, _):
                told[f"seconds_{workers}"], told[f"cores_busy_{workers}"] = _timed(opened, family, workers)
        told["speedup"] = told["seconds_1"] / told[f"seconds_{WORKERS}"]
        rounds.append({name: round(value, 2) for name, value in told.items()})
        print(rounds[-1], file=sys.stderr, flush=True)
    medians = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    return {"points": POINTS, **medians, "rounds": rounds}


def _timed(pool: RunnerPool, family: Family, workers: int) -> tuple[float, float]:
    """Seconds for the same points on warm workers, and how many cores were busy meanwhile, with whatever."""
    _run(pool, [family.start] * 2 * workers, family, workers, first=1_000)
    points = [_point(family, number) for number in range(POINTS)]
    started, busy = time.perf_counter(), _busy_seconds()
    _run(pool, points, family, workers)
    seconds = time.perf_counter() - started
    return seconds, (_busy_seconds() - busy) / seconds


def _run(pool: RunnerPool, points: list[Any], family: Family, workers: int, first: int = 0) -> None:
    """As a search hands them out: one more when one is done."""
    running: list[Future] = []
    waiting = list(enumerate(points, first))
    while waiting or running:
        for future in [one for one in running if one.done()]:
            outcome = future.result()
            assert outcome.status == "finished", outcome.reason
            running.remove(future)
        while waiting and len(running) < workers:
            number, point = waiting.pop(0)
            running.append(pool.submit(number, family.name, point, None))
        time.sleep(POLL_SECONDS)


def _busy_seconds() -> float:
    """What all processors have worked since the system started."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq)


def _fits(spec: DataSpec, processes: int) -> float:
    """Seconds for the fits of the same points alone, without servers, in warm processes."""
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        list(pool.map(_fit, [spec] * 2 * processes, [0] * 2 * processes))
        started = time.perf_counter()
        list(pool.map(_fit, [spec] * POINTS, range(POINTS)))
        return time.perf_counter() - started


def _fit(spec: DataSpec, number: int) -> None:
    (family,) = make_families(FAMILIES, 1).values()
    fit_candidate(family, _point(family, number), load(spec))


def _point(family: Family, number: int) -> dict[str, Any]:
    random = np.random.default_rng(number)
    values: dict[str, Any] = {}
    for name, dimension in family.space.items():
        if dimension.kind == "integer":
            values[name] = int(random.integers(dimension.low, dimension.high + 1))
        elif dimension.kind == "log_uniform":
            values[name] = float(np.exp(random.uniform(np.log(dimension.low), np.log(dimension.high))))
        else:
            values[name] = float(random.uniform(dimension.low, dimension.high))
    return values


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
