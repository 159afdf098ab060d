"""Leases and checkpoints of shards in SQLite: every change is one UPDATE whose WHERE is the fence."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from churn.store.interface import Lease, ShardState
from churn.store.records import from_microseconds, lost, microseconds, sequence_order, shard_state
from churn.store.sqlite_database import Database

LEASE = "consumer, shard_id, owner, token, expires, sequence_number, finished"
OURS = "consumer = ? AND shard_id = ? AND owner = ? AND token = ?"


class SqliteShards:
    """The part of SqliteStore that keeps shards."""

    _database: Database

    def acquire_shard(
        self, consumer: str, shard_id: str, owner: str, now: datetime, ttl_seconds: float
    ) -> Lease | None:
        expires = microseconds(now) + round(ttl_seconds * 1e6)
        return self._changed(
            "INSERT INTO shards (consumer, shard_id, owner, token, expires) VALUES (?, ?, ?, 1, ?) "
            "ON CONFLICT DO UPDATE SET owner = excluded.owner, token = token + 1, expires = excluded.expires "
            "WHERE owner IS NULL OR owner = excluded.owner OR expires <= ?",
            (consumer, shard_id, owner, expires, microseconds(now)),
        )

    def renew_shard(self, lease: Lease, now: datetime, ttl_seconds: float) -> Lease:
        expires = microseconds(now) + round(ttl_seconds * 1e6)
        renewed = self._changed(f"UPDATE shards SET expires = ? WHERE {OURS}", (expires, *_fence(lease)))  # noqa: S608
        if renewed is None:
            raise lost(lease)
        return renewed

    def checkpoint_shard(
        self, lease: Lease, sequence_number: str | None, now: datetime, finished: bool = False
    ) -> Lease:
        order = "" if sequence_number is None else sequence_order(sequence_number)
        moved = self._changed(
            "UPDATE shards SET sequence_number = CASE WHEN ?1 > sequence_order THEN ?2 ELSE sequence_number END, "
            "sequence_order = max(?1, sequence_order), checkpointed = ?3, finished = finished OR ?4 "
            "WHERE consumer = ?5 AND shard_id = ?6 AND owner = ?7 AND token = ?8",
            (order, sequence_number, microseconds(now), finished, *_fence(lease)),
        )
        if moved is None:
            raise lost(lease)
        return moved

    def release_shard(self, lease: Lease) -> None:
        self._changed(f"UPDATE shards SET owner = NULL, expires = NULL WHERE {OURS}", _fence(lease))  # noqa: S608

    def shards(self, consumer: str) -> list[ShardState]:
        query = (
            "SELECT shard_id, owner, token, expires, sequence_number, checkpointed, finished FROM shards "
            "WHERE consumer = ? ORDER BY shard_id"
        )
        with self._database.read() as connection:
            return [shard_state(*row) for row in connection.execute(query, (consumer,))]

    def _changed(self, statement: str, values: tuple[Any, ...]) -> Lease | None:
        """The row that the statement changed, as a lease; None when its WHERE let nothing through."""
        with self._database.write() as connection:
            rows = connection.execute(f"{statement} RETURNING {LEASE}", values).fetchall()
        for consumer, shard_id, owner, token, expires, sequence_number, finished in rows:
            expires_at = from_microseconds(expires or 0)
            return Lease(consumer, shard_id, owner, token, expires_at, sequence_number, bool(finished))
        return None


def _fence(lease: Lease) -> tuple[str, str, str, int]:
    return lease.consumer, lease.shard_id, lease.owner, lease.token
