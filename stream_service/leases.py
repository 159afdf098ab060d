"""Who reads which shard: leases in the store, shared evenly among the workers that are alive.

Each worker holds a seat, so that all know how many they are. Who has more than its share gives shards up after
its batch; who has less takes what is free. The store's fencing token makes a paused worker's checkpoints void.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from churn.errors import LeaseLost, StoreUnavailable
from churn.store.interface import Lease, PredictionStore, ShardState
from stream_service.records import Shard

SEATS = 64
"""Most workers on one stream; beyond a few, an event source mapping does better."""


class Balance(NamedTuple):
    """What this worker is to do now: start these, hand these over after their batch, drop these at once."""

    taken: list[Lease]
    give_up: list[str]
    lost: list[str]


class Leases:
    """One worker's leases on the shards of one stream. Used by one thread; workers' clocks must roughly agree."""

    def __init__(
        self, store: PredictionStore, consumer: str, owner: str, ttl_seconds: float, now: Callable[[], datetime]
    ) -> None:
        self.consumer = consumer
        self.owner = owner
        self._store = store
        self._seats = f"{consumer}/workers"
        self._ttl_seconds = ttl_seconds
        self._now = now
        self._seat: Lease | None = None

    def balance(self, shards: Sequence[Shard], held: Mapping[str, Lease]) -> Balance:
        """Renew what is held and move towards a fair share. `held` are the leases this worker reads by."""
        now = self._now()
        self._sit(now)
        lost = [shard_id for shard_id, lease in held.items() if not self._renew(lease, now)]
        mine = [shard_id for shard_id in held if shard_id not in lost]
        states = {state.shard_id: state for state in self._store.shards(self.consumer)}
        ready = readable(shards, {s.shard_id for s in states.values() if s.finished})
        share = self._fair_share(len(ready), states.values(), mine, now)
        give_up = sorted(mine)[share:]
        wanted = max(0, share - len(mine))
        taken: list[Lease] = []
        for shard in ready:
            if len(taken) == wanted:
                break
            if shard.shard_id not in held and _is_free(states.get(shard.shard_id), self.owner, now):
                lease = self._store.acquire_shard(self.consumer, shard.shard_id, self.owner, now, self._ttl_seconds)
                if lease is not None and not lease.finished:
                    taken.append(lease)
        return Balance(taken, give_up, lost)

    def states(self) -> dict[str, ShardState]:
        return {state.shard_id: state for state in self._store.shards(self.consumer)}

    def release(self, lease: Lease) -> None:
        self._store.release_shard(lease)

    def leave(self) -> None:
        """Give the seat up, so that the others need not wait for it to expire."""
        if self._seat is not None:
            self._store.release_shard(self._seat)
            self._seat = None

    def _renew(self, lease: Lease, now: datetime) -> bool:
        try:
            self._store.renew_shard(lease, now, self._ttl_seconds)
        except LeaseLost:
            return False
        return True

    def _sit(self, now: datetime) -> None:
        if self._seat is not None and self._renew(self._seat, now):
            return
        self._seat = None
        taken = {state.shard_id for state in self._store.shards(self._seats) if not _is_free(state, self.owner, now)}
        for seat in (f"seat-{number:02d}" for number in range(SEATS)):
            if seat not in taken:
                self._seat = self._store.acquire_shard(self._seats, seat, self.owner, now, self._ttl_seconds)
                if self._seat is not None:
                    return
        raise StoreUnavailable(f"{SEATS} workers read as {self.consumer} already; stop some, or use Lambda")

    def _fair_share(self, shards: int, states: Iterable[ShardState], mine: Collection[str], now: datetime) -> int:
        """Shards divided by workers; the remainder goes to those who hold more already, so that few move."""
        workers = {s.owner for s in self._store.shards(self._seats) if s.owner and not _expired(s, now)} | {self.owner}
        load = dict.fromkeys(workers, 0)
        for state in states:
            if state.owner in load and state.owner != self.owner and not state.finished and not _expired(state, now):
                load[state.owner] += 1
        load[self.owner] = len(mine)
        order = sorted(load, key=lambda worker: (-load[worker], worker))
        each, extra = divmod(shards, len(order))
        return each + (order.index(self.owner) < extra)


def readable(shards: Sequence[Shard], finished: Collection[str]) -> list[Shard]:
    """Shards not read to their end whose parents were, or are gone: only so do a key's records stay in order."""
    present = {shard.shard_id for shard in shards}
    waiting = present - set(finished)
    return [s for s in shards if s.shard_id in waiting and not any(parent in waiting for parent in s.parents)]


def _is_free(state: ShardState | None, owner: str, now: datetime) -> bool:
    return state is None or state.owner is None or state.owner == owner or _expired(state, now)


def _expired(state: ShardState, now: datetime) -> bool:
    return state.expires_at is None or state.expires_at <= now
