"""Requests that meet are scored and logged as one: one call of the model, one append, one fsync for all of them.

Every request has a thread that must wait for its fsync anyway. The first to come leads: it scores and logs all who
wait, while newcomers parse and queue; then it hands the lead to the first newcomer. So a group grows by itself with
the load, costs one wake-up a request, and a lone request pays nothing but two locks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Work = TypeVar("Work")
Result = TypeVar("Result")


class _Seat(Generic[Work, Result]):
    """One request's place in the queue."""

    __slots__ = ("error", "result", "turn", "work")

    def __init__(self, work: Work) -> None:
        self.work = work
        self.result: Result | None = None
        self.error: Exception | None = None
        self.turn = threading.Lock()  # held while the request waits
        self.turn.acquire()

    @property
    def is_served(self) -> bool:
        return self.result is not None or self.error is not None


class Combiner(Generic[Work, Result]):
    """Runs `together` on the works of all requests that wait. It gives a result for each, in order, or raises for all.

    Safe to share between threads. `limit` bounds a group, so that nobody waits for an endless one.
    """

    def __init__(self, together: Callable[[Sequence[Work]], Sequence[Result]], limit: int = 64) -> None:
        self._together = together
        self._limit = limit
        self._mutex = threading.Lock()
        self._waiting: list[_Seat[Work, Result]] = []
        self._led = False

    def run(self, work: Work) -> Result:
        """The result of this work, once its group is done. Raises what `together` raised for the group."""
        seat: _Seat[Work, Result] = _Seat(work)
        with self._mutex:
            self._waiting.append(seat)
            leads, self._led = not self._led, True
        if not leads:
            seat.turn.acquire()  # served by a leader, or now the leader
        if not seat.is_served:
            self._lead()
        if seat.error is not None:
            raise seat.error
        return seat.result  # type: ignore[return-value]  # served: the result is there

    def _lead(self) -> None:
        """Serve the group at the head of the queue (the leader's own seat is its first) and hand the lead on."""
        with self._mutex:
            group, self._waiting = self._waiting[: self._limit], self._waiting[self._limit :]
        try:
            results = self._together([seat.work for seat in group])
            for seat, result in zip(group, results, strict=True):
                seat.result = result
        except Exception as error:  # each request of the group raises it
            for seat in group:
                seat.result, seat.error = None, error
        finally:
            with self._mutex:
                successor = self._waiting[0] if self._waiting else None
                self._led = successor is not None
            if successor is not None:
                successor.turn.release()
            for seat in group[1:]:
                seat.turn.release()
