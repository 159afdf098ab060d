"""The first answer to a key: found in any worker's journal or in the store, so that a retry gets it again.

A key decides the prediction's id, so the log holds one record whatever happens. Here the answer itself is kept the
same: while a worker answers a key it holds a lock that all workers of the host share, and looks first into the
segments of all of them, then into the store. Requests without a key pay nothing. When the store cannot be asked, only
the journals are: a key that was answered longer ago, or on another host, is then answered anew by the model in force,
and the log keeps the first record.
"""

from __future__ import annotations

import threading
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from churn.errors import StoreUnavailable
from churn.journal.folder import worker_paths
from churn.journal.key_locks import KeyLocks
from churn.journal.segment import Record, SegmentReader, segment_name, segment_numbers
from churn.journal.telling import tell
from churn.prediction import Prediction, from_json

LOCK_SECONDS = 10.0
STORE_RETRY_SECONDS = 2.0

Find = Callable[[Sequence[str]], Mapping[str, Prediction]]


class Idempotency:
    """One a process, beside its journal. Safe for threads. `find` asks the store for ids (`store.get_many`)."""

    def __init__(
        self,
        directory: Path,
        find: Find,
        *,
        lock_seconds: float = LOCK_SECONDS,
        store_retry_seconds: float = STORE_RETRY_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._find = find
        self._lock_seconds = lock_seconds
        self._store_retry_seconds = store_retry_seconds
        self._monotonic = monotonic
        self._locks = KeyLocks(directory / "keys" / "locks", monotonic)
        self._journals = _Journals(directory)
        self._ask_store_at = 0.0

    @contextmanager
    def first_answers(self, prediction_ids: Sequence[str]) -> Iterator[dict[str, Prediction]]:
        """The answers that these ids got before, by id; for the rest, answer and append (keyed) inside the block.

        Nobody else on this host answers these ids meanwhile. Raises JournalFull when another worker holds one of
        them for too long."""
        with self._locks.held(prediction_ids, self._lock_seconds):
            yield self._first_answers(prediction_ids)

    def _first_answers(self, prediction_ids: Sequence[str]) -> dict[str, Prediction]:
        """The journals first: what leaves them meanwhile is in the store by then."""
        found = self._journals.find(prediction_ids)
        missing = [prediction_id for prediction_id in prediction_ids if prediction_id not in found]
        if missing and self._monotonic() >= self._ask_store_at:
            try:
                found.update(self._find(missing))
            except StoreUnavailable as error:
                self._ask_store_at = self._monotonic() + self._store_retry_seconds
                tell("warning", "keys_not_looked_up_in_store", reason=str(error), ids=len(missing))
        return found


class _Journals:
    """The keyed records in all workers' segments, this process's too, read onward from where the last look ended."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._tails: dict[tuple[str, int], _Tail] = {}

    def find(self, prediction_ids: Sequence[str]) -> dict[str, Prediction]:
        with self._lock:
            self._catch_up()
            hashes = [(prediction_id, hash(prediction_id) & _MASK) for prediction_id in prediction_ids]
            found: dict[str, Prediction] = {}
            for tail in self._tails.values():
                for prediction_id, key in hashes:
                    for offset in tail.offsets(key):
                        prediction = tail.prediction(offset)
                        if prediction is not None and prediction.prediction_id == prediction_id:
                            found.setdefault(prediction_id, prediction)
            return found

    def _catch_up(self) -> None:
        present = {
            (path.name, number): path / segment_name(number)
            for path in worker_paths(self._directory)
            for number in segment_numbers(path)
        }
        for gone in self._tails.keys() - present.keys():
            self._tails.pop(gone).close()
        for key, path in present.items():
            if key not in self._tails:
                try:
                    self._tails[key] = _Tail(path)
                except (FileNotFoundError, ValueError):  # deleted meanwhile, or just being made
                    continue
            self._tails[key].read_on()


_MASK = (1 << 63) - 1


class _Id(msgspec.Struct):
    prediction_id: str


_id_decoder = msgspec.json.Decoder(_Id)


class _Tail:
    """One segment's keyed records by a hash of their ids: while it grows in a dictionary and with the file open,
    then in sorted arrays of 12 bytes a record, so that a long outage costs little memory and no open files."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reader: SegmentReader | None = SegmentReader(path)
        self._growing: dict[int, list[int]] = {}
        self._keys = array("q")
        self._offsets = array("I")

    def read_on(self) -> None:
        while self._reader is not None:
            chunk = self._reader.read(None, whole=False)
            for record in chunk.records:
                if record.keyed:
                    self._remember(record)
            if chunk.ended:
                self._settle()
            elif not chunk.records:
                return

    def offsets(self, key: int) -> list[int]:
        if self._reader is not None:
            return self._growing.get(key, [])
        found = []
        position = bisect_left(self._keys, key)
        while position < len(self._keys) and self._keys[position] == key:
            found.append(self._offsets[position])
            position += 1
        return found

    def prediction(self, offset: int) -> Prediction | None:
        """None when the segment is gone, and then the store has it, or when it was damaged."""
        try:
            reader = self._reader or SegmentReader(self._path)
        except (FileNotFoundError, ValueError):
            return None
        try:
            return from_json(reader.payload(offset))
        except (ValueError, msgspec.DecodeError):
            return None
        finally:
            if reader is not self._reader:
                reader.close()

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _remember(self, record: Record) -> None:
        try:
            key = hash(_id_decoder.decode(record.payload).prediction_id) & _MASK
        except msgspec.DecodeError:  # the shipper rejects and counts it
            return
        self._growing.setdefault(key, []).append(record.offset)

    def _settle(self) -> None:
        pairs = sorted((key, offset) for key, offsets in self._growing.items() for offset in offsets)
        self._keys.extend(key for key, _ in pairs)
        self._offsets.extend(offset for _, offset in pairs)
        self._growing = {}
        self.close()
