"""A journal folder on its way to the store: read, saved, counted, and only then deleted."""

from __future__ import annotations

import base64
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from churn.journal.folder import WorkerFolder
from churn.journal.ledger import Page, Totals
from churn.journal.segment import HEADER, Chunk, SegmentReader, segment_name, segment_numbers
from churn.journal.telling import tell
from churn.journal.writer import Journal, Shippable
from churn.prediction import Prediction, from_json, to_json

BATCH_BYTES = 8 << 20
YIELD_RECORDS = 64
"""Decoding lets other threads have the interpreter this often: a request waits for less than a millisecond."""

Save = Callable[[Sequence[Prediction]], tuple[int, list[tuple[Prediction, str]]]]


class Lane:
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
