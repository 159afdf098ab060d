"""Reads one shard from a position on: renews its iterator, keeps to five reads a second, sees the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from churn.errors import StreamMissing, StreamUnavailable
from stream_service.kinesis import READ_RECORDS, IteratorExpired, Kinesis
from stream_service.records import Position, Read, Shard

READ_INTERVAL_SECONDS = 0.2
"""Kinesis allows five reads a second and shard, all readers taken together."""
EMPTY_READS_AT_THE_END = 3
"""A closed shard that gives nothing so often, and says it is at its tip, was read to its end: some services never
say so by ending the iterator."""


class ShardReader:
    """Hands out what follows `position`. Not shared between threads. Calls raise StreamUnavailable; call again."""

    def __init__(
        self,
        kinesis: Kinesis,
        stream: str,
        shard: Shard,
        position: Position,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.shard = shard
        self._kinesis = kinesis
        self._stream = stream
        self._position = position
        self._monotonic = monotonic
        self._iterator: str | None = None
        self._next_read = 0.0
        self._empty_reads = 0

    def due_in_seconds(self) -> float:
        """How long the next read must wait so as not to be throttled."""
        return max(0.0, self._next_read - self._monotonic())

    def read(self, limit: int = READ_RECORDS) -> Read:
        """The next records; an expired iterator is renewed at the same place, which never is LATEST."""
        self._next_read = self._monotonic() + READ_INTERVAL_SECONDS
        with suppress(IteratorExpired):
            return self._read(limit)
        self._iterator = None
        try:
            return self._read(limit)
        except IteratorExpired:
            self._iterator = None
            raise StreamUnavailable(
                f"get_records on stream {self._stream}", "iterator", "a fresh iterator had expired already"
            ) from None

    def close_shard(self) -> None:
        """Say that the shard was split or merged since: its end is to be looked for."""
        self.shard = self.shard._replace(closed=True)

    def _read(self, limit: int) -> Read:
        try:
            if self._iterator is None:
                self._iterator = self._kinesis.iterator(self._stream, self.shard.shard_id, self._position)
            read = self._kinesis.read(self._stream, self.shard.shard_id, self._iterator, limit)
        except StreamMissing:
            self._iterator = None
            raise
        self._iterator = read.next_iterator
        if read.records:
            self._position = Position(after=read.records[-1].sequence_number)
        self._empty_reads = 0 if read.records or read.behind_milliseconds else self._empty_reads + 1
        if self.shard.closed and self._empty_reads >= EMPTY_READS_AT_THE_END:
            return read._replace(next_iterator=None)
        return read
