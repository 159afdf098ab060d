"""Folders of the journal: one a process, locked while it lives, adopted by another when it is gone.

journal/worker-PID-RANDOM/lock          held (flock) as long as the process lives; counts accepted records
journal/worker-PID-RANDOM/ledger        what was shipped of it
journal/worker-PID-RANDOM/segment-N.log
journal/ledger                          the counts of folders that are no more
journal/rejected/worker-PID-RANDOM.jsonl  records that no store can take, with their reasons
"""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from churn.journal.ledger import Ledger, Page, Totals, read_page
from churn.journal.segment import SegmentReader, segment_name, segment_numbers, sync_folder

_COUNTS = struct.Struct("<QQd")
COUNT_BYTES = 4096
GONE = ".gone-"


@dataclass(frozen=True, slots=True)
class JournalStats:
    """accepted = shipped + waiting + rejected, always. `oldest_seconds` is the age of the oldest waiting record;
    `repeated` counts those shipped that the store had already, as after a crash between its answer and the count."""

    accepted: int = 0
    shipped: int = 0
    repeated: int = 0
    waiting: int = 0
    waiting_bytes: int = 0
    oldest_seconds: float = 0.0
    rejected: dict[str, int] = field(default_factory=dict)
    folders: int = 0


class WorkerFolder:
    """A locked folder. Whoever holds the lock is the only one to write in it."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock
        self._counts = mmap.mmap(lock, COUNT_BYTES)
        self.ledger = Ledger(path / "ledger")
        counts: tuple[int, int, float] = _COUNTS.unpack_from(self._counts)
        self.accepted, self.accepted_bytes, self._oldest = counts

    @property
    def root(self) -> Path:
        """The folder of all workers' folders."""
        return self.path.parent

    @property
    def totals(self) -> Totals:
        """What the shipper has counted here since the folder was made."""
        return self.ledger.page.totals

    @property
    def waiting(self) -> int:
        """Never below zero: a record may be shipped in the moment before it is counted."""
        return max(0, self.accepted - self.totals.settled)

    @property
    def waiting_bytes(self) -> int:
        """Bytes in segments that are not shipped yet."""
        return max(0, self.accepted_bytes - self.totals.settled_bytes)

    def accept(self, records: int, size: int) -> None:
        """Count records that are on the disk. Any process on the host can see the counts."""
        self.accepted += records
        self.accepted_bytes += size
        _COUNTS.pack_into(self._counts, 0, self.accepted, self.accepted_bytes, self._oldest)

    def set_oldest(self, monotonic: float) -> None:
        """When the oldest waiting record came, on the host's monotonic clock; 0 when none waits."""
        self._oldest = monotonic
        _COUNTS.pack_into(self._counts, 0, self.accepted, self.accepted_bytes, self._oldest)

    def recount(self) -> None:
        """Count anew what is there, after a crash: what was on the disk but not counted is accepted now."""
        page = self.ledger.page
        records = size = 0
        for number in segment_numbers(self.path):
            if number >= page.segment:
                resumed = (page.offset, page.index) if number == page.segment and page.offset else ()
                counted, counted_bytes = _count(self.path / segment_name(number), *resumed)
                records, size = records + counted, size + counted_bytes
        self.accepted, self.accepted_bytes = page.totals.settled, page.totals.settled_bytes
        self.accept(records, size)

    def remove(self) -> None:
        """Hand the counts of a folder with nothing left to ship to the root's ledger, and delete it. Raises OSError;
        `release` it in any case."""
        with _locked(self.root / "ledger.lock"):
            root = Ledger(self.root / "ledger")
            if self.path.name not in root.page.merged:
                left = [name for name in root.page.merged if (self.root / name).exists()]
                page = Page(totals=root.page.totals + self.totals, merged=(*left, self.path.name))
                root.write(page, durable=True)
            root.close()
            gone = self.root / f"{GONE}{self.path.name}"
            self.path.rename(gone)  # at once: nobody may meet a folder half deleted and make it their own
            shutil.rmtree(gone, ignore_errors=True)

    def release(self) -> None:
        """Let others adopt it."""
        self.ledger.close()
        self._counts.close()
        os.close(self._lock)


def claim_folder(root: Path) -> WorkerFolder:
    """A new folder for this process. Raises OSError when the journal cannot be written."""
    root.mkdir(parents=True, exist_ok=True)
    while True:
        path = root / f"worker-{os.getpid()}-{secrets.token_hex(4)}"
        path.mkdir(mode=0o700)
        folder = _take(path)
        if folder is not None:
            sync_folder(root)
            return folder


def adopt_folders(root: Path) -> Iterator[WorkerFolder]:
    """The folders of processes that are gone, each locked for this one and counted anew."""
    for left in root.glob(f"{GONE}*"):
        shutil.rmtree(left, ignore_errors=True)
    for path in worker_paths(root):
        folder = _take(path)
        if folder is not None:
            folder.recount()
            yield folder


def host_stats(root: Path, monotonic: float) -> JournalStats:
    """The counts of all workers on this host, living and dead, since the journal was made; cheap enough for every
    scrape. `monotonic` is the host's monotonic clock now."""
    while True:
        page = read_page(root / "ledger")
        stats = _host_stats(root, page, monotonic)
        if read_page(root / "ledger") == page:  # else a folder moved into it meanwhile and may have been missed
            return stats


def _host_stats(root: Path, page: Page, monotonic: float) -> JournalStats:
    totals, oldest, folders = page.totals, 0.0, 0
    accepted, accepted_bytes = totals.settled, totals.settled_bytes
    for path in worker_paths(root):
        if path.name in page.merged:
            continue
        try:
            counts = _COUNTS.unpack_from((path / "lock").read_bytes())
        except (FileNotFoundError, struct.error):  # removed, or just being made
            continue
        totals += read_page(path / "ledger").totals
        accepted, accepted_bytes, folders = accepted + counts[0], accepted_bytes + counts[1], folders + 1
        oldest = max(oldest, monotonic - counts[2] if counts[2] else 0.0)
    waiting = max(0, accepted - totals.settled)
    return JournalStats(
        accepted=totals.settled + waiting,
        shipped=totals.shipped,
        repeated=totals.repeated,
        waiting=waiting,
        waiting_bytes=max(0, accepted_bytes - totals.settled_bytes),
        oldest_seconds=oldest if waiting else 0.0,
        rejected=totals.rejected,
        folders=folders,
    )


def worker_paths(root: Path) -> list[Path]:
    """The folders of all workers of this host, living or dead."""
    try:
        return sorted(root / name for name in os.listdir(root) if name.startswith("worker-"))
    except FileNotFoundError:
        return []


def _take(path: Path) -> WorkerFolder | None:
    """The folder if nobody holds it and it is still there once we do."""
    try:
        lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(lock).st_ino != os.stat(path / "lock").st_ino:
            raise FileNotFoundError(path)
        if os.fstat(lock).st_size < COUNT_BYTES:
            os.pwrite(lock, bytes(COUNT_BYTES), 0)
        return WorkerFolder(path, lock)
    except (BlockingIOError, FileNotFoundError):
        os.close(lock)
        return None
    except BaseException:
        os.close(lock)
        raise


def _count(path: Path, *position: int) -> tuple[int, int]:
    """Records from a position to a segment's end, damaged ones too, and their bytes."""
    try:
        reader = SegmentReader(path, *position)
    except ValueError:  # cut off while it was made: no record was accepted into it
        return 0, 0
    first, start = reader.index, reader.offset
    while not reader.read(None, whole=True).ended:
        pass
    reader.close()
    return reader.index - first, reader.offset - start


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)
