"""granian's server with another view of dead workers: they are replaced for as long as the service lives.

granian ends the whole service when a worker dies twice within 5.5 seconds. Here a worker that was killed is replaced
at once, as often as it takes; only workers that fail by themselves, again and again and all of them, end the service.
"""

from __future__ import annotations

import time
from typing import Any

import structlog
from granian.server.mp import MPServer

from churn.errors import ChurnwatchError

log = structlog.get_logger()
LOOK_SECONDS = 0.2
YOUNG_SECONDS = 5.0
FAILURES_EACH = 3
"""So many failures in a row for each worker, none older than YOUNG_SECONDS, and the service gives up."""


class WorkersFail(ChurnwatchError):
    """No worker can be started."""


class Supervisor(MPServer):
    """Starts workers, replaces dead ones, stops all on SIGTERM or SIGINT. `serve` returns, or raises WorkersFail."""

    failures = 0

    def _serve_loop(self, spawn_target: Any, target_loader: Any) -> None:
        while True:
            self.main_loop_interrupt.wait(LOOK_SECONDS)
            self.main_loop_interrupt.clear()
            if self.interrupt_signal or self._gave_up():
                return
            workers: list[Any] = list(self.wrks)
            for index, worker in enumerate(workers):
                if not worker.is_alive():
                    self._note(index, worker)
                    self._respawn_workers([index], spawn_target, target_loader)

    def _note(self, index: int, worker: Any) -> None:
        code = worker.inner.exitcode
        log.error("worker_died", worker=index + 1, exit_code=code)
        failed_by_itself = code is not None and code > 0
        self.failures = self.failures + 1 if failed_by_itself and self._age(worker) < YOUNG_SECONDS else 0
        if failed_by_itself:
            time.sleep(min(LOOK_SECONDS * 2**self.failures, YOUNG_SECONDS / 2))

    def _gave_up(self) -> bool:
        all_young = all(self._age(worker) < YOUNG_SECONDS for worker in self.wrks)
        return all_young and self.failures >= FAILURES_EACH * len(self.wrks)

    def _age(self, worker: Any) -> float:
        return time.monotonic() - float(worker.birth)

    def serve_until_stopped(self, load: Any) -> None:
        """Serve what `load` gives in each worker."""
        self.serve(target_loader=load, wrap_loader=False)
        if self.failures >= FAILURES_EACH * self.workers:
            raise WorkersFail("no worker can be started; the reason is in the log above")
