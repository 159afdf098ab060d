"""Locks on keys, for the threads of a process and the processes of a host: whoever answers a key holds it meanwhile.

Keys share a fixed number of locks by a hash. Among processes a lock is one byte of a file, locked for an open file
(Linux's open file description locks), so that one call takes many and a process that dies lets go of all.
"""

from __future__ import annotations

import fcntl
import os
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from zlib import crc32

from churn.errors import JournalFull

LOCKS = 4096
"""So many that two groups of 16 keys seldom share one."""
FIRST_NAP_SECONDS = 0.0005
LONGEST_NAP_SECONDS = 0.01
_FLOCK = struct.Struct("hhqqi4x")


class KeyLocks:
    """One a process. Safe for threads."""

    def __init__(self, path: Path, monotonic: Callable[[], float]) -> None:
        self._path = path
        self._monotonic = monotonic
        self._taken: set[int] = set()
        self._changed = threading.Condition()
        self._file: int | None = None

    @contextmanager
    def held(self, keys: Iterable[str], seconds: float) -> Iterator[None]:
        """Hold the keys' locks. Raises JournalFull when others hold one for longer than `seconds`."""
        give_up = self._monotonic() + seconds
        numbers = {crc32(key.encode()) % LOCKS for key in keys}
        self._take(numbers, give_up)
        try:
            file = self._open()
            ranges = list(_ranges(numbers))
            try:
                for first, length in ranges:  # in order: nobody waits for one who waits for them
                    self._lock(file, first, length, give_up)
                yield
            finally:
                for first, length in ranges:
                    _set_lock(file, fcntl.F_UNLCK, first, length)
        finally:
            with self._changed:
                self._taken -= numbers
                self._changed.notify_all()

    def close(self) -> None:
        """Give back the files; locks that are held are released."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _take(self, numbers: set[int], give_up: float) -> None:
        """Among threads: all or none at once."""
        with self._changed:
            while not self._taken.isdisjoint(numbers):
                if not self._changed.wait(max(0.0, give_up - self._monotonic())):
                    raise _busy()
            self._taken |= numbers

    def _lock(self, file: int, first: int, length: int, give_up: float) -> None:
        """A lock has no time limit of its own; a paused worker must not hold up others for ever."""
        nap = FIRST_NAP_SECONDS
        while True:
            try:
                _set_lock(file, fcntl.F_WRLCK, first, length)
                return
            except (BlockingIOError, PermissionError):
                if self._monotonic() >= give_up:
                    raise _busy() from None
                time.sleep(nap)
                nap = min(2 * nap, LONGEST_NAP_SECONDS)

    def _open(self) -> int:
        with self._changed:
            if self._file is None:
                try:
                    self._path.parent.mkdir(parents=True, exist_ok=True)
                    self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                except OSError as error:
                    raise JournalFull(f"the journal cannot lock a key: {error}") from error
            return self._file


def _ranges(numbers: set[int]) -> Iterator[tuple[int, int]]:
    """First and length of runs, in order; the whole file at once when so many are wanted that it saves calls."""
    if len(numbers) > LOCKS // 16:
        yield 0, LOCKS
        return
    for number in sorted(numbers):
        yield number, 1


def _set_lock(file: int, kind: int, first: int, length: int) -> None:
    set_open_file_lock = getattr(fcntl, "F_OFD_SETLK", None)
    if set_open_file_lock is not None:
        fcntl.fcntl(file, set_open_file_lock, _FLOCK.pack(kind, os.SEEK_SET, first, length, 0))
    else:  # elsewhere the lock is the process's, which holds the file open once
        fcntl.lockf(file, fcntl.LOCK_UN if kind == fcntl.F_UNLCK else fcntl.LOCK_EX | fcntl.LOCK_NB, length, first)


def _busy() -> JournalFull:
    return JournalFull("another worker has been answering this key for too long: try again")
