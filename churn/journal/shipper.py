"""The shipper: moves records from journal folders to the store, its own process's and those of the dead."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from churn.errors import InvalidInput, StoreUnavailable
from churn.journal.folder import adopt_folders
from churn.journal.lane import Lane
from churn.journal.telling import tell
from churn.journal.writer import Journal
from churn.prediction import Prediction

BATCH_RECORDS = 1_000
FIRST_RETRY_SECONDS = 0.2
LONGEST_RETRY_SECONDS = 5.0


class Saves(Protocol):
    """What the shipper needs of a PredictionStore."""

    def save(self, predictions: Sequence[Prediction]) -> Any: ...


class Shipper:
    """One a process, beside its journal. Records reach the store at least once, and once by their id.

    A batch is acknowledged, then counted, then its segment deleted: a crash in between repeats, never loses."""

    def __init__(
        self,
        journal: Journal,
        store: Saves,
        *,
        interval_seconds: float = 0.2,
        adopt_seconds: float = 2.0,
        batch_records: int = BATCH_RECORDS,
        retry_seconds: tuple[float, float] = (FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS),
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._journal = journal
        self._store = store
        self._interval_seconds = interval_seconds
        self._adopt_seconds = adopt_seconds
        self._batch_records = batch_records
        self._retry_seconds = retry_seconds
        self._uniform = uniform
        self._lanes = [Lane(journal.folder, journal)]
        self._stop = threading.Event()
        self._deadline = 0.0
        self._failures = 0
        self._thread: threading.Thread | None = None
        self.store_error: str | None = None
        """Why the store took the last batch not, or None."""

    def start(self) -> None:
        """Ship from now on, in a thread of its own. `Journal.close` ends it."""
        self._journal.attach(self)
        self._thread = threading.Thread(target=self._run, name="journal-shipper", daemon=True)
        self._thread.start()

    def close(self, drain_seconds: float = 0.0) -> None:
        """Go on until the journal is empty, at most so long, then stop."""
        self._deadline = time.monotonic() + drain_seconds
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        for lane in self._lanes:
            lane.close()

    def ship_once(self) -> bool:
        """Move one batch of each folder; says whether any was full, so that more is likely to wait.

        Raises StoreUnavailable; what was not acknowledged stays where it is."""
        more = False
        for lane in list(self._lanes):
            more |= lane.ship(self._save, self._batch_records)
            if lane.is_done:
                self._lanes.remove(lane)
                lane.finish()
                tell("info", "journal_adopted", folder=str(lane.folder.path), shipped=lane.folder.totals.shipped)
        return more

    def adopt(self) -> None:
        """Take over the folders of processes that are gone."""
        for folder in adopt_folders(self._journal.directory):
            tell("warning", "journal_found", folder=str(folder.path), waiting=folder.waiting)
            self._lanes.append(Lane(folder, None))

    def _run(self) -> None:
        adopt_at = 0.0
        while True:
            pause = self._interval_seconds
            try:
                self._journal.verify()
                if time.monotonic() >= adopt_at and not self._stop.is_set():
                    adopt_at = time.monotonic() + self._adopt_seconds
                    self.adopt()
                if self.ship_once():
                    pause = 0.0
                self._failures, self.store_error = 0, None
            except Exception as error:
                pause = self._back_off(error)
            if self._stop.is_set():
                if not self._lanes[0].folder.waiting or time.monotonic() >= self._deadline:
                    return
                time.sleep(min(pause, 0.1))
            elif pause:
                self._stop.wait(pause)

    def _back_off(self, error: Exception) -> float:
        """Any error keeps the records: the store's, the disk's, or one of ours, which is logged with its place."""
        self.store_error = str(error)
        first, longest = self._retry_seconds
        pause: float = self._uniform(0.5, 1.0) * min(longest, first * 2.0**self._failures)
        self._failures = min(self._failures + 1, 30)
        expected = isinstance(error, StoreUnavailable | OSError)
        tell("warning", "journal_not_shipped", reason=str(error), retry_seconds=round(pause, 3), exc_info=not expected)
        return pause

    def _save(self, predictions: Sequence[Prediction]) -> tuple[int, list[tuple[Prediction, str]]]:
        """How many the store had already, and those it can never take, with the reason of each."""
        if not predictions:
            return 0, []
        try:
            return self._store.save(predictions).repeated, []
        except InvalidInput as error:
            if len(predictions) == 1:
                return 0, [(predictions[0], str(error))]
            middle = len(predictions) // 2
            repeated, refused = self._save(predictions[:middle])
            more_repeated, more_refused = self._save(predictions[middle:])
            return repeated + more_repeated, refused + more_refused
