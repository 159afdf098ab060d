"""Prefect's second home: trials handed to its task runners, threads of this process or workers of a Dask cluster."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from churn.errors import ChurnwatchError, SettingError
from orchestration.outcome import Outcome
from orchestration.task_trials import Future, default_workers, lag_of
from orchestration.trials import ENDS, Assignment, run_assigned

LOCAL = "local"
UNWATCHED = {"distributed.worker.profile.enabled": False, "distributed.admin.tick.interval": "1s"}
"""For workers of this machine: Dask's profiler and clock look 100 and 50 times a second, for pages that are off here.
Environment variables would come too late: Dask has read them by then, and its workers get what it has read."""
ROOM_SECONDS = 5.0
"""How old a count of a cluster's workers may be."""


@task(name="trial", task_run_name="trial {number}: {family}", cache_policy=NO_CACHE)
def trial(
    assignment: Assignment, number: int, family: str, parameters: Mapping[str, Any], best: Outcome | None
) -> Outcome:
    return run_assigned(assignment, number, family, parameters, best)


@contextmanager
def open_runner(cluster: str, workers: int, assign: Callable[[int], Assignment]) -> Iterator[RunnerPool]:
    """A started task runner as a pool: `cluster` as TUNING_CLUSTER has it. `assign` is told how many folds a trial
    may fit side by side. No workers: one a core, of threads four at most. Raises SettingError when the cluster cannot
    be used."""
    cores = os.cpu_count() or 1
    if not cluster:
        workers = workers or default_workers()
        threads = max(1, cores // workers)
        threads_runner: TaskRunner[Any] = ThreadPoolTaskRunner(max_workers=workers)
        with threads_runner:
            yield RunnerPool(threads_runner, lambda: workers, assign(threads), lag_of(workers))
        return
    with _dask_runner(cluster, workers or cores) as runner:
        yield RunnerPool(runner, _room_of(runner), assign(1))


class RunnerPool:
    """Trials as task runs. What a task runner loses for good, a worker that died with the trial again and again,
    comes back as a failed trial."""

    def __init__(
        self, runner: TaskRunner[Any], room: Callable[[], int], assignment: Assignment, lag: int | None = None
    ) -> None:
        self.runner, self._room, self._assignment, self.lag = runner, room, assignment, lag

    def room(self) -> int:
        return self._room()

    def submit(self, number: int, family: str, parameters: Mapping[str, Any], best: Outcome | None) -> Future:
        given = {"assignment": self._assignment, "number": number, "family": family, "parameters": dict(parameters)}
        future = self.runner.submit(trial, {**given, "best": best})
        return _TaskRun(future, Outcome(number, "failed", family, dict(parameters)))


class _TaskRun:
    def __init__(self, future: Any, lost: Outcome) -> None:
        self._future, self._lost = future, lost

    def done(self) -> bool:
        return bool(self._future.wrapped_future.done())

    def result(self) -> Outcome:
        try:
            outcome: Outcome = self._future.result()
        except ENDS:
            raise
        except Exception as error:  # Dask's KilledWorker, a task that Prefect saw crash: one trial's own end
            lost = self._lost
            return Outcome(
                lost.number, "failed", lost.family, lost.parameters, reason=f"{type(error).__name__}: {error}"
            )
        return outcome


class ClusterUnavailable(ChurnwatchError):
    """The Dask scheduler does not answer."""

    def __init__(self, address: str, reason: object) -> None:
        super().__init__(f"TUNING_CLUSTER={address}: no Dask scheduler answers there ({reason}); start it, or unset it")


@contextmanager
def _dask_runner(cluster: str, workers: int) -> Iterator[Any]:
    try:
        import dask
        from prefect_dask.task_runners import DaskTaskRunner
    except ImportError as error:
        raise SettingError("TUNING_CLUSTER", cluster, f"nothing, or the extra [cluster] ({error})") from error
    os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "critical")  # a worker that dies and comes back is no news
    for name in logging.root.manager.loggerDict:
        if name.partition(".")[0] == "distributed":
            logging.getLogger(name).setLevel(logging.CRITICAL)
    if cluster == LOCAL:
        local = {
            "n_workers": workers,
            "threads_per_worker": 1,
            "processes": True,
            "host": "127.0.0.1",
            "dashboard_address": None,
            "silence_logs": logging.CRITICAL,
        }
        runner = DaskTaskRunner(cluster_kwargs=local)
    elif "://" in cluster:
        runner = DaskTaskRunner(address=cluster, client_kwargs={"timeout": "20s"})
    else:
        raise SettingError("TUNING_CLUSTER", cluster, "nothing, 'local', or a scheduler as tcp://HOST:PORT")
    with dask.config.set(UNWATCHED), runner:
        try:
            _count_threads(runner)
        except OSError as error:
            raise ClusterUnavailable(cluster, error) from error
        yield runner


def _room_of(runner: Any) -> Callable[[], int]:
    """The threads of all workers, counted anew every few seconds: a cluster may grow while it works."""
    counted, when = 0, float("-inf")

    def room() -> int:
        nonlocal counted, when
        if time.monotonic() - when > ROOM_SECONDS:
            counted, when = _count_threads(runner), time.monotonic()
        return max(counted, 1)

    return room


def _count_threads(runner: Any) -> int:
    return sum(runner.client.nthreads().values())
