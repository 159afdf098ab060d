"""Keeps so many worker processes running: a dead one is replaced for as long as the service lives.

Only workers that fail by themselves, again and again and all of them, end the service.
"""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess

import structlog

from churn.errors import ChurnwatchError
from churn.signals import at_end

log = structlog.get_logger()
LOOK_SECONDS = 0.2
YOUNG_SECONDS = 5.0
FAILURES_EACH = 3
"""So many failures in a row for each worker, none older than YOUNG_SECONDS, and the service gives up."""


class WorkersFail(ChurnwatchError):
    """No worker can be started."""


@dataclass
class _Worker:
    process: BaseProcess
    born: float

    @property
    def age_seconds(self) -> float:
        return time.monotonic() - self.born


class Supervisor:
    """Starts workers, replaces dead ones, stops all on SIGTERM or SIGINT, and kills those that take too long to end."""

    def __init__(self, work: Callable[[], None], workers: int, stop_seconds: float) -> None:
        """`work` is pickled into each process."""
        # A fresh interpreter for each worker: forking one that has loaded XGBoost's thread pool can hang the child.
        self._context = multiprocessing.get_context("spawn")
        self._work = work
        self._count = workers
        self._stop_seconds = stop_seconds
        self._workers: list[_Worker] = []
        self._stopped = threading.Event()
        self._failures = 0

    def serve_until_stopped(self) -> None:
        """Raises WorkersFail when all workers fail by themselves."""
        at_end(self._stopped.set)
        self._workers = [self._start(number) for number in range(self._count)]
        try:
            while not self._stopped.wait(LOOK_SECONDS) and not self._gave_up():
                for index, worker in enumerate(self._workers):
                    if not worker.process.is_alive():
                        self._note(index, worker)
                        self._workers[index] = self._start(index)
        finally:
            self._end()
        if not self._stopped.is_set():
            raise WorkersFail("no worker can be started; the reason is in the log above")

    def _start(self, index: int) -> _Worker:
        process = self._context.Process(target=self._work, name=f"web-worker-{index + 1}")
        process.start()
        return _Worker(process, time.monotonic())

    def _note(self, index: int, worker: _Worker) -> None:
        code = worker.process.exitcode
        log.error("worker_died", worker=index + 1, exit_code=code)
        failed_by_itself = code is not None and code > 0
        self._failures = self._failures + 1 if failed_by_itself and worker.age_seconds < YOUNG_SECONDS else 0
        if failed_by_itself:
            self._stopped.wait(min(LOOK_SECONDS * 2**self._failures, YOUNG_SECONDS / 2))

    def _gave_up(self) -> bool:
        all_young = all(worker.age_seconds < YOUNG_SECONDS for worker in self._workers)
        return all_young and self._failures >= FAILURES_EACH * self._count

    def _end(self) -> None:
        for worker in self._workers:
            worker.process.terminate()
        give_up = time.monotonic() + self._stop_seconds
        for worker in self._workers:
            worker.process.join(max(0.0, give_up - time.monotonic()))
            if worker.process.is_alive():
                log.error("worker_killed", pid=worker.process.pid, after_seconds=self._stop_seconds)
                worker.process.kill()
                worker.process.join()
