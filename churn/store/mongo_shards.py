"""Leases and checkpoints of shards in MongoDB: every change is one find_one_and_update whose filter is the fence."""

from __future__ import annotations

from datetime import datetime, timedelta

from churn.store.interface import Lease, ShardState
from churn.store.mongo_database import Document, MongoDatabase
from churn.store.records import from_microseconds, lost, microseconds, sequence_order, shard_state

NEW_SHARD = {"sequence_number": None, "sequence_order": "", "checkpointed": None, "finished": False}


class MongoShards:
    """The part of MongoStore that keeps shards."""

    _database: MongoDatabase

    def acquire_shard(
        self, consumer: str, shard_id: str, owner: str, now: datetime, ttl_seconds: float
    ) -> Lease | None:
        free = [{"owner": None}, {"owner": owner}, {"expires": {"$lte": microseconds(now)}}]
        change = {
            "$set": {"owner": owner, "expires": microseconds(now + timedelta(seconds=ttl_seconds))},
            "$inc": {"token": 1},
            "$setOnInsert": {"consumer": consumer, "shard_id": shard_id, **NEW_SHARD},
        }
        return self._changed({"_id": f"{consumer}/{shard_id}", "$or": free}, change, upsert=True)

    def renew_shard(self, lease: Lease, now: datetime, ttl_seconds: float) -> Lease:
        expires = microseconds(now + timedelta(seconds=ttl_seconds))
        renewed = self._changed(_fence(lease), {"$set": {"expires": expires}})
        if renewed is None:
            raise lost(lease)
        return renewed

    def checkpoint_shard(
        self, lease: Lease, sequence_number: str | None, now: datetime, finished: bool = False
    ) -> Lease:
        order = "" if sequence_number is None else sequence_order(sequence_number)
        mark: Document = {"checkpointed": microseconds(now), **({"finished": True} if finished else {})}
        forward = {"sequence_number": sequence_number, "sequence_order": order, **mark}
        moved = self._changed({**_fence(lease), "sequence_order": {"$lt": order}}, {"$set": forward}) if order else None
        # Either the fence failed or the number would move it back; the second, fenced as well, tells which.
        moved = moved or self._changed(_fence(lease), {"$set": mark})
        if moved is None:
            raise lost(lease)
        return moved

    def release_shard(self, lease: Lease) -> None:
        self._changed(_fence(lease), {"$set": {"owner": None, "expires": None}})

    def shards(self, consumer: str) -> list[ShardState]:
        names = ("shard_id", "owner", "token", "expires", "sequence_number", "checkpointed", "finished")
        found = self._database.find("shards", {"consumer": consumer}, order=[("shard_id", 1)])
        return [shard_state(*(shard[name] for name in names)) for shard in found]

    def _changed(self, where: Document, change: Document, upsert: bool = False) -> Lease | None:
        shard = self._database.change("shards", where, change, upsert=upsert)
        if shard is None:
            return None
        return Lease(
            consumer=shard["consumer"],
            shard_id=shard["shard_id"],
            owner=shard["owner"] or "",
            token=shard["token"],
            expires_at=from_microseconds(shard["expires"] or 0),
            sequence_number=shard["sequence_number"],
            finished=shard["finished"],
        )


def _fence(lease: Lease) -> Document:
    return {"_id": f"{lease.consumer}/{lease.shard_id}", "owner": lease.owner, "token": lease.token}
