"""Requests a second for each client, counted over all workers of the service.

A token bucket a client: it fills at the client's rate up to one second's worth (at least one request). The buckets
lie in a small file that workers share, so that a limit does not grow with the number of workers. Clients are spread
over a fixed number of buckets by a hash, so memory is bounded; two that meet in one share its rate.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

BUCKETS = 4096
_BUCKET = struct.Struct("<dd")
"""Tokens left, and when that was, on the host's monotonic clock."""


class SharedRateLimit:
    """Takes requests out of buckets. Safe for threads and for processes on one host."""

    def __init__(self, path: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._threads = threading.Lock()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._file, BUCKETS * _BUCKET.size)
        self._buckets = mmap.mmap(self._file, BUCKETS * _BUCKET.size)

    def take(self, client: str, per_second: float) -> float:
        """Take one; the seconds until one can be taken when there is none, else 0. A refusal takes nothing."""
        offset = crc32(client.encode("utf-8", "replace")) % BUCKETS * _BUCKET.size
        with self._threads:  # a file lock belongs to the process: it keeps no thread out
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                return self._take(offset, per_second)
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def _take(self, offset: int, per_second: float) -> float:
        now = self._monotonic()
        left, seen = _BUCKET.unpack_from(self._buckets, offset)
        most = max(1.0, per_second)
        left = most if seen == 0 else min(most, left + max(0.0, now - seen) * per_second)
        allowed = left >= 1.0
        _BUCKET.pack_into(self._buckets, offset, left - 1.0 if allowed else left, now)
        return 0.0 if allowed else (1.0 - left) / per_second
