"""hyperopt's second home: an asynchronous `Trials` that hands each point to a task and takes what comes back.

hyperopt's own for clusters need a JVM (SparkTrials) or calls that PyMongo 4 removed (MongoTrials). This one needs only
something that takes a task and gives a future: threads, processes, a cluster.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice
from typing import Any, Protocol

import hyperopt
import numpy as np
from hyperopt.fmin import FMinIter

from orchestration.outcome import Outcome

POLL_SECONDS = 0.01
LAG_TRIALS = 4
"""How many numbers before its own the newest trial is that one of this machine learns from. Were it whatever has ended,
the search would depend on which of two trials ends first; so it is the same with one worker and with up to four."""


class Future(Protocol):
    """A trial under way. `result` raises when the tuning cannot go on."""

    def done(self) -> bool: ...

    def result(self) -> Outcome: ...


class Pool(Protocol):
    """Where trials run: takes one more than it has room for, too, and lets it wait."""

    lag: int | None
    """A trial learns from those that are at least so many numbers before it; None: from all that have ended."""

    def room(self) -> int:
        """How many trials can run at once now; a cluster may grow and shrink."""

    def submit(self, number: int, family: str, parameters: Mapping[str, Any], best: Outcome | None) -> Future: ...


class TaskTrials(hyperopt.Trials):  # type: ignore[misc]  # hyperopt is untyped
    """Trials whose points run in a pool. Where the pool has a lag, a search can be repeated, and be gone on with."""

    asynchronous = True

    def __init__(self, pool: Pool, point: Callable[[Mapping[str, Any]], tuple[str, dict[str, Any]]]) -> None:
        """`point` makes a family and its parameters of hyperopt's values."""
        self._pool, self._point = pool, point
        self._running: dict[int, Future] = {}
        self._lowest_free = 0
        self.outcomes: dict[int, Outcome] = {}
        self.on_outcome: Callable[[Outcome], None] = lambda _: None
        super().__init__()

    @property
    def best(self) -> Outcome | None:
        """The best finished trial so far, the earlier of two equal ones."""
        return _best(self.outcomes.values())

    def known_to(self, number: int) -> hyperopt.Trials:
        """The trials that the one of this number is drawn from. On a cluster those under way are among them, without a
        loss, so that points drawn side by side keep away from each other."""
        if self._pool.lag is None:
            return self
        done = [one for one in self._dynamic_trials if one["state"] == hyperopt.JOB_STATE_DONE]
        return hyperopt.trials_from_docs([one for one in done if self._knows(number, one["tid"])], validate=False)

    def know(self, outcome: Outcome, values: Mapping[str, float], labels: list[str]) -> None:
        """Add a trial that an earlier search has run; to be called in the order of their numbers."""
        (document,) = self.new_trial_docs(
            [outcome.number], [None], [_result(outcome)], [misc(outcome.number, values, labels)]
        )
        self._ids.add(outcome.number)
        self.insert_trial_docs([{**document, "state": hyperopt.JOB_STATE_DONE}])
        self.outcomes[outcome.number] = outcome
        self.refresh()

    def new_trial_ids(self, n: int) -> list[int]:
        """The lowest numbers that are free: an interrupted search may have left gaps."""
        free = self._free(n)
        self._ids.update(free)
        return free

    def _free(self, n: int) -> list[int]:
        while self._lowest_free in self._ids:
            self._lowest_free += 1
        return list(islice((number for number in count(self._lowest_free) if number not in self._ids), n))

    def count_by_state_unsynced(self, arg: Any) -> int:
        """What hyperopt asks again and again, and what moves trials on. With no room left the queue is said to be
        full, so that no point is drawn before the results that it is to learn from."""
        self._collect()
        self._hand_out()
        found = int(super().count_by_state_unsynced(arg))
        return max(found, 1) if arg == hyperopt.JOB_STATE_NEW and not self._may_draw() else found

    def _may_draw(self) -> bool:
        if len(self._running) >= self._pool.room():
            return False
        (number,) = self._free(1)
        return self._pool.lag is None or not any(self._knows(number, running) for running in self._running)

    def _knows(self, number: int, other: int) -> bool:
        """Whether a trial learns from another, once that one has ended."""
        return self._pool.lag is None or other <= number - self._pool.lag

    def fmin(self, fn: Any, space: Any, *, algo: Any, max_evals: int, timeout: float | None, **_: Any) -> None:
        """hyperopt's own loop, asked every few milliseconds instead of once a second."""
        loop = FMinIter(
            algo,
            hyperopt.Domain(fn, space),
            self,
            rstate=np.random.default_rng(0),  # unused: each point's seed is made from its number
            poll_interval_secs=POLL_SECONDS,
            max_evals=max_evals,
            timeout=timeout,
            show_progressbar=False,
        )
        loop.exhaust()

    def _hand_out(self) -> None:
        for document in self._dynamic_trials:
            if document["state"] == hyperopt.JOB_STATE_NEW:
                document["state"] = hyperopt.JOB_STATE_RUNNING
                values = {label: given[0] for label, given in document["misc"]["vals"].items() if given}
                number = document["tid"]
                best = _best(one for one in self.outcomes.values() if self._knows(number, one.number))
                self._running[number] = self._pool.submit(number, *self._point(values), best)

    def _collect(self) -> None:
        for document in self._dynamic_trials:
            future = self._running.get(document["tid"])
            if future is not None and future.done():
                outcome = future.result()
                del self._running[document["tid"]]
                document["result"], document["state"] = _result(outcome), hyperopt.JOB_STATE_DONE
                self.outcomes[outcome.number] = outcome
                self.on_outcome(outcome)


def misc(number: int, values: Mapping[str, float], labels: list[str]) -> dict[str, Any]:
    """A point as hyperopt keeps it: a label that plays no part in it has an empty list."""
    return {
        "tid": number,
        "cmd": ("domain_attachment", "FMinIter_Domain"),
        "workdir": None,
        "idxs": {label: [number] if label in values else [] for label in labels},
        "vals": {label: [values[label]] if label in values else [] for label in labels},
    }


def _best(outcomes: Iterable[Outcome]) -> Outcome | None:
    finished = [one for one in outcomes if one.status == "finished"]
    return min(finished, key=lambda one: (one.loss, one.number), default=None)


def _result(outcome: Outcome) -> dict[str, Any]:
    if outcome.loss is None:
        return {"status": hyperopt.STATUS_FAIL}
    return {"status": hyperopt.STATUS_OK, "loss": outcome.loss}


def default_workers() -> int:
    """A thread a core, but no more than leave a search as it is with one."""
    return min(os.cpu_count() or 1, LAG_TRIALS)


def lag_of(workers: int) -> int:
    """The lag of a pool of threads: of few, the same however many they are."""
    return max(LAG_TRIALS, workers)


class Threads:
    """The pool of a process by itself: plain threads."""

    def __init__(self, run: Callable[[int, str, Mapping[str, Any], Outcome | None], Outcome], workers: int = 1) -> None:
        self._run, self._workers = run, workers
        self.lag: int | None = lag_of(workers)

    def __enter__(self) -> Threads:
        self._threads = ThreadPoolExecutor(self._workers)
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)

    def room(self) -> int:
        return self._workers

    def submit(self, number: int, family: str, parameters: Mapping[str, Any], best: Outcome | None) -> Future:
        return self._threads.submit(self._run, number, family, parameters, best)
