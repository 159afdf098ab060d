"""One and four Dask workers on the same trials, and a search whose workers are killed. Started by benchmarks.tune.

Everything is as in `TUNING_CLUSTER=local orchestration tune`: Prefect task runs on worker processes that read the
features from S3 and log whole bundles to MLflow.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from churn.contract import load_contract
from churn.feature_store import FeatureStore
from churn.registry import Registry
from orchestration.families import make_families
from orchestration.families.family import Family
from orchestration.ingest import ingest
from orchestration.outcome import Outcome
from orchestration.runners import RunnerPool, open_runner
from orchestration.search import search
from orchestration.tracking import Tracker
from orchestration.trials import Assignment, DataSpec, load
from orchestration.tuning import Plan, facts_of

POINTS = 16
WORKERS = 4
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

    told: dict[str, Any] = {}
    for workers in (1, WORKERS):
        with pool(workers) as (opened, _):
            told[f"seconds_{workers}"] = round(_timed(opened, families[0], workers), 1)
    told["speedup"] = round(told["seconds_1"] / told[f"seconds_{WORKERS}"], 2)
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


def _timed(pool: RunnerPool, family: Family, workers: int) -> float:
    """Seconds for the same points on warm workers."""
    warm = [pool.submit(1_000 + number, family.name, family.start, None) for number in range(2 * workers)]
    _wait(warm)
    points = [_point(family, number) for number in range(POINTS)]
    started = time.perf_counter()
    _wait([pool.submit(number, family.name, point, None) for number, point in enumerate(points)])
    return time.perf_counter() - started


def _wait(futures: list[Any]) -> None:
    for future in futures:
        outcome = future.result()
        assert outcome.status == "finished", outcome.reason


def _point(family: Family, number: int) -> dict[str, Any]:
    random = np.random.default_rng(number)
    values = {}
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
