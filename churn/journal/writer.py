"""The journal of one process: many threads append, one of them writes and syncs for all who came meanwhile.

Leader and followers. The first thread of a group leads it: it writes the records of all and syncs once. Threads
that come during that time form the next group, whose first one leads when this one is done. Followers wait at their
group's gate, which each passes on to the next, so that only one thread at a time asks for the interpreter. With no
one else about, a thread writes for itself and nobody is woken. While several are, the leader first waits half a
millisecond for them: fewer, larger groups. Figures and the ways not taken: docs/decisions/0004-journal.md.
"""

from __future__ import annotations

import math
import secrets
import threading
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from churn.errors import JournalFull
from churn.journal.folder import JournalStats, claim_folder
from churn.journal.refusals import refusal
from churn.journal.segment import LENGTH, RECORD, Entry, SegmentWriter, segment_name
from churn.journal.telling import tell

GATHER_SECONDS = 0.0005
GATHER_FROM = 8
"""A group of at least so many threads makes the next leader wait for as many."""
RETRY_SECONDS = 0.1
"""After a failed write, appends are refused at once for so long, rather than each asking the full disk again."""
MARK_SECONDS = 0.5
MOST_MARKS = 4096


@dataclass(frozen=True, slots=True)
class Shippable:
    """A segment as the shipper may read it: up to `end`, before which `records` lie once it is sealed."""

    number: int
    is_sealed: bool
    end: int
    records: int


class Drains(Protocol):
    """Whatever ships the journal's records to the store."""

    def close(self, drain_seconds: float) -> None: ...


class _Group:
    """Appends that are written and synced together. `gate` opens when they are; `turn` calls the next leader."""

    __slots__ = ("entries", "error", "gate", "turn")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.error: BaseException | None = InterruptedError("the group's leader was interrupted")
        self.gate = threading.Lock()
        self.gate.acquire()
        self.turn: threading.Lock | None = None


class Journal:
    """One a process, made after any fork and open until the process ends. Safe for threads.

    Several processes share a directory: each has a folder of its own in it, and the shipper of any adopts the
    folders of those that died. The directory must be on a local disk.
    """

    def __init__(
        self,
        directory: Path,
        *,
        segment_bytes: int = 8 << 20,
        max_waiting_bytes: int = 1 << 30,
        gather_seconds: float = GATHER_SECONDS,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises JournalFull when the directory cannot be written."""
        self.directory = directory
        self._segment_bytes = segment_bytes
        self._max_waiting_bytes = max_waiting_bytes
        self._gather_seconds = gather_seconds
        self._clock = clock
        self._monotonic = monotonic
        self._mutex = threading.Lock()
        self._group = _Group()
        self._leading = False
        self._recent_threads = 0
        self._number = 0
        self._segments: deque[tuple[int, SegmentWriter]] = deque()
        self._marks: list[tuple[int, float]] = []
        self._refusal: tuple[float, Exception] | None = None
        self._drains: Drains | None = None
        self._closed = False
        try:
            self.folder = claim_folder(directory)
        except OSError as error:
            raise refusal(self.directory, error) from error

    def append(self, payloads: Sequence[bytes], *, keyed: bool = False) -> None:
        """Returns once all payloads are on the disk; raises JournalFull when they are not, and then none counts.

        `keyed` records are found again by `Idempotency`. A thread's own appends keep their order."""
        if not payloads:
            return
        size = sum(map(len, payloads)) + RECORD.size * len(payloads)
        if max(map(len, payloads)) > LENGTH:
            raise ValueError(f"a record of the journal holds at most {LENGTH} bytes")
        with self._mutex:
            self._admit(size)
            group = self._group
            group.entries.append((payloads, keyed))
            leads = len(group.entries) == 1
            if leads and self._leading:
                group.turn = threading.Lock()
                group.turn.acquire()
            elif leads:
                self._leading = True
        if not leads:
            with group.gate:
                pass
        else:
            if group.turn is not None:
                group.turn.acquire()
            self._lead(group)
        if group.error is not None:
            raise refusal(self.directory, group.error) from group.error

    def stats(self) -> JournalStats:
        """The counts of this process's folder alone; `host_stats` has those of all."""
        totals = self.folder.totals
        waiting = max(0, self.folder.accepted - totals.settled)
        return JournalStats(
            accepted=totals.settled + waiting,
            shipped=totals.shipped,
            repeated=totals.repeated,
            waiting=waiting,
            waiting_bytes=self.folder.waiting_bytes,
            oldest_seconds=max(0.0, self._monotonic() - self.oldest(totals.settled)) if waiting else 0.0,
            rejected=dict(totals.rejected),
            folders=1,
        )

    def close(self, drain_seconds: float = 0.0) -> None:
        """Take no more, let the shipper empty the journal for up to so long, and let go of the folder.

        What is still waiting is shipped by another worker, or when the service starts again."""
        with self._mutex:
            if self._closed:
                return
            self._closed = True
        while self._leading:
            time.sleep(0.001)
        if self._drains is not None:
            self._drains.close(drain_seconds)
        for _, segment in self._segments:
            segment.seal()
        if self.folder.waiting:
            tell("warning", "journal_left_waiting", folder=str(self.folder.path), records=self.folder.waiting)
        else:
            try:
                self.folder.remove()
            except OSError as error:  # all is shipped: the next to start counts it and clears it away
                tell("warning", "journal_folder_not_removed", folder=str(self.folder.path), reason=str(error))
        self.folder.release()

    # What the shipper of this process asks for.

    def attach(self, drains: Drains) -> None:
        """Tell who is to be closed before the journal is."""
        self._drains = drains

    def first_segment(self) -> Shippable | None:
        """The oldest segment that was not shipped and deleted, as far as it is on the disk."""
        if not self._segments:
            return None
        number, segment = self._segments[0]
        is_sealed = segment.is_sealed  # before the others, which may grow until it is
        return Shippable(number, is_sealed, segment.end, segment.count)

    def verify(self) -> None:
        """Raises FileNotFoundError, and lets nothing more be accepted, once the folder is no longer there: what is
        written to a deleted file is lost."""
        if not (self.folder.path / "lock").exists():
            error = FileNotFoundError(f"{self.folder.path} was deleted while in use; restart the service")
            self._refusal = (math.inf, error)
            raise error

    def forget(self, number: int) -> None:
        """The segment was shipped and deleted."""
        if self._segments and self._segments[0][0] == number:
            self._segments.popleft()

    def oldest(self, settled: int) -> float:
        """When the oldest record came that is not among the first `settled`: monotonic, to half a second."""
        marks = self._marks
        position = bisect_right(marks, (settled, math.inf)) - 1
        return marks[max(0, position)][1] if marks else self._monotonic()

    def _admit(self, size: int) -> None:
        if self._closed:
            raise JournalFull("the journal is closed: the service is stopping")
        if self.folder.waiting_bytes + size > self._max_waiting_bytes:
            raise JournalFull(
                f"the journal {self.directory} holds {self.folder.waiting_bytes} bytes that the store has not taken, "
                f"and JOURNAL_MAX_BYTES={self._max_waiting_bytes}: see why the store takes none"
            )
        if self._refusal is not None:
            until, error = self._refusal
            if self._monotonic() < until:
                raise refusal(self.directory, error)
            self._refusal = None

    def _lead(self, group: _Group) -> None:
        try:
            if len(group.entries) < self._recent_threads:
                time.sleep(self._gather_seconds)
            with self._mutex:
                self._group = _Group()
            self._commit(group.entries)
            group.error = None
        except Exception as error:
            group.error = error
            self._refusal = (self._monotonic() + RETRY_SECONDS, error)
        finally:
            self._hand_over(group)

    def _hand_over(self, group: _Group) -> None:
        """The next leader first, so that the disk is not idle while this group's answers go out."""
        threads = len(group.entries)
        self._recent_threads = threads if threads >= GATHER_FROM else 0
        with self._mutex:
            turn = self._group.turn
            if turn is None:
                self._leading = False
        if turn is not None:
            turn.release()
        group.gate.release()

    def _commit(self, entries: Sequence[Entry]) -> None:
        segment = self._segments[-1][1] if self._segments else None
        if segment is None or segment.is_sealed or segment.end >= self._segment_bytes:
            if segment is not None:
                segment.seal()
            segment = self._new_segment()
        try:
            records, size = segment.append(entries)
        except OSError:
            # After a failed sync nobody knows what is on the disk: the segment ends where it was last known.
            segment.seal()
            if segment.count == 0:
                self._segments.pop()
            raise
        now = self._monotonic()
        if not self._marks or now - self._marks[-1][1] >= MARK_SECONDS:
            self._mark(now)
        self.folder.accept(records, size)

    def _new_segment(self) -> SegmentWriter:
        self._number += 1
        path = self.folder.path / segment_name(self._number)
        segment = SegmentWriter(path, secrets.randbits(32) | 1, self._segment_bytes, self._clock())
        self._segments.append((self._number, segment))
        return segment

    def _mark(self, now: float) -> None:
        """Marks are never changed in place but at the end: other threads look them up."""
        past = bisect_right(self._marks, (self.folder.totals.settled, math.inf)) - 1
        marks = self._marks[max(0, past) :]
        if len(marks) >= MOST_MARKS:  # a long outage: every other mark will do
            marks = marks[::2]
        self._marks = [*marks, (self.folder.accepted, now)]
