"""The stream's nouns: shards, positions in them, and records as read."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple


class Shard(NamedTuple):
    """One shard of a stream. A closed one (split or merged) takes no new records; its children follow its parents."""

    shard_id: str
    parents: tuple[str, ...]
    closed: bool


class Position(NamedTuple):
    """Where to read from: after a sequence number, else from a time, else from the oldest record kept."""

    after: str | None = None
    at_time: datetime | None = None


class StreamRecord(NamedTuple):
    """One record. `sub_sequence` numbers the user records that a producer packed into one Kinesis record."""

    shard_id: str
    sequence_number: str
    partition_key: str
    data: bytes
    arrived_at: datetime
    sub_sequence: int | None = None

    def identity(self, stream: str) -> tuple[str, ...]:
        """What makes this delivery the same as any other delivery of the same record."""
        place = ("record", stream, self.shard_id, self.sequence_number)
        return place if self.sub_sequence is None else (*place, str(self.sub_sequence))


class Read(NamedTuple):
    """One answer of GetRecords. `ended`: the shard is closed and this was its last record."""

    records: list[StreamRecord]
    next_iterator: str | None
    behind_milliseconds: int

    @property
    def ended(self) -> bool:
        return self.next_iterator is None


class Entry(NamedTuple):
    """Something to put on a stream. The same partition key always leads to the same shard."""

    partition_key: str
    data: bytes


class Unsent(NamedTuple):
    """What a stream did not take, and why. Empty entries mean that all is there."""

    entries: list[Entry]
    cause: str = ""
    detail: str = ""
