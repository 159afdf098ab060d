"""The shipper: moves records from journal folders to the store, its own process's and those of the dead."""

from __future__ import annotations

import base64
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from churn.errors import InvalidInput, StoreUnavailable
from churn.journal.folder import WorkerFolder, adopt_folders
from churn.journal.ledger import Page, Totals
from churn.journal.segment import HEADER, Chunk, SegmentReader, segment_name, segment_numbers
from churn.journal.telling import tell
from churn.journal.writer import Journal, Shippable
from churn.prediction import Prediction, from_json, to_json

BATCH_RECORDS = 1_000
BATCH_BYTES = 8 << 20
FIRST_RETRY_SECONDS = 0.2
LONGEST_RETRY_SECONDS = 5.0
YIELD_RECORDS = 64
"""Decoding lets other threads have the interpreter this often: a request waits for less than a millisecond."""


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
        self._lanes = [_Lane(journal.folder, journal)]
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
            self._lanes.append(_Lane(folder, None))

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


Save = Callable[[Sequence[Prediction]], tuple[int, list[tuple[Prediction, str]]]]


class _Lane:
    """One folder on its way to the store. `journal` is its writer, or None for an adopted one."""

    def __init__(self, folder: WorkerFolder, journal: Journal | None) -> None:
        self.folder = folder
        self._journal = journal
        self._reader: SegmentReader | None = None
        self._number = 0
        self.is_done = False

    def ship(self, save: Save, max_records: int) -> bool:
        """Move a batch; says whether there is likely more. Raises what `save` raises, and stays where it was."""
        self._note_oldest()
        segment = self._first_segment()
        if segment is None:
            self.is_done = self._journal is None
            return False
        reader = self._open(segment.number)
        if reader is None:
            return True
        start, first = reader.offset, reader.index
        try:
            end = None if self._journal is None else segment.end
            chunk = reader.read(end, whole=True, max_records=max_records, max_bytes=BATCH_BYTES)
            at_end = segment.is_sealed and (chunk.ended or reader.offset >= segment.end)
            if at_end and self._journal is not None:  # what damage at the very end swallowed
                chunk.lost += segment.records - reader.index
                reader.offset = segment.end
            if chunk.records or chunk.lost or at_end:
                self._settle(chunk, save, reader, segment.number, reader.offset - start)
        except BaseException:
            reader.offset, reader.index = start, first
            raise
        if at_end:
            self._drop(segment.number)
        return at_end or len(chunk.records) >= max_records

    def finish(self) -> None:
        """An adopted folder with nothing left in it goes."""
        try:
            self.folder.remove()
        finally:
            self.close()

    def close(self) -> None:
        self._close_reader()
        if self._journal is None:
            self.folder.release()

    def _first_segment(self) -> Shippable | None:
        """Of a dead process's segment only the number is known: it is read to wherever its records end."""
        if self._journal is not None:
            return self._journal.first_segment()
        numbers = segment_numbers(self.folder.path)
        while numbers and numbers[0] < self.folder.ledger.page.segment:  # counted and to be deleted, but for a crash
            (self.folder.path / segment_name(numbers.pop(0))).unlink()
        return Shippable(numbers[0], True, sys.maxsize, 0) if numbers else None

    def _open(self, number: int) -> SegmentReader | None:
        if self._reader is not None and self._number == number:
            return self._reader
        self._close_reader()
        page = self.folder.ledger.page
        path = self.folder.path / segment_name(number)
        resumed = (page.offset, page.index) if page.segment == number else (HEADER.size, 0)
        try:
            self._reader, self._number = SegmentReader(path, *resumed), number
        except ValueError:
            self._set_aside(path)
        return self._reader

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _settle(self, chunk: Chunk, save: Save, reader: SegmentReader, number: int, size: int) -> None:
        """Have the store take a chunk, then count it and where we are."""
        predictions, rejected = _decoded(chunk)
        repeated, refused = save(predictions)
        rejected += [("refused", to_json(prediction), reason) for prediction, reason in refused]
        rejected += [("damaged", block, "checksum") for block in chunk.damage]
        if rejected:
            self._keep_rejected(number, rejected)
        if chunk.torn_bytes:
            tell(
                "warning", "journal_tail_cut", folder=str(self.folder.path), segment=number, torn_bytes=chunk.torn_bytes
            )
        counts = {
            "undecodable": len(chunk.records) - len(predictions),
            "refused": len(refused),
            "damaged": chunk.lost,
        }
        settled = Totals(
            shipped=len(predictions) - len(refused),
            repeated=repeated,
            rejected={reason: count for reason, count in counts.items() if count},
            settled_bytes=size,
        )
        page = Page(totals=self.folder.totals + settled, segment=number, offset=reader.offset, index=reader.index)
        self.folder.ledger.write(page)

    def _drop(self, number: int) -> None:
        """All of a segment is in the store. The ledger first, durably: it is what keeps the count."""
        page = Page(totals=self.folder.totals, segment=number + 1, offset=HEADER.size, index=0)
        self.folder.ledger.write(page, durable=True)
        self._close_reader()
        (self.folder.path / segment_name(number)).unlink(missing_ok=True)
        if self._journal is not None:
            self._journal.forget(number)

    def _note_oldest(self) -> None:
        if not self.folder.waiting:
            self.folder.set_oldest(0.0)
        elif self._journal is not None:
            self.folder.set_oldest(self._journal.oldest(self.folder.totals.settled))

    def _keep_rejected(self, number: int, rejected: Sequence[tuple[str, bytes, str]]) -> None:
        folder = self.folder.root / "rejected"
        folder.mkdir(exist_ok=True)
        lines = [
            msgspec.json.encode(
                {"reason": kind, "detail": detail, "segment": number, "payload": base64.b64encode(payload).decode()}
            )
            for kind, payload, detail in rejected
        ]
        file = os.open(folder / f"{self.folder.path.name}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(file, b"\n".join(lines) + b"\n")
            os.fsync(file)
        finally:
            os.close(file)
        tell("error", "journal_rejected", folder=str(self.folder.path), records=len(rejected), reason=rejected[0][2])

    def _set_aside(self, path: Path) -> None:
        """A file without a segment's header: cut off while it was made, before any record, unless the disk rots."""
        if path.stat().st_size > 0 and path.read_bytes().strip(b"\0"):
            folder = self.folder.root / "rejected"
            folder.mkdir(exist_ok=True)
            path.rename(folder / f"{self.folder.path.name}-{path.name}")
            tell("error", "journal_segment_unreadable", segment=str(path))
        else:
            path.unlink()


def _decoded(chunk: Chunk) -> tuple[list[Prediction], list[tuple[str, bytes, str]]]:
    predictions, rejected = [], []
    for position, record in enumerate(chunk.records):
        if position % YIELD_RECORDS == YIELD_RECORDS - 1:
            time.sleep(0)
        try:
            predictions.append(from_json(record.payload))
        except msgspec.DecodeError as error:  # ValidationError is one
            rejected.append(("undecodable", record.payload, str(error)))
    return predictions, rejected
