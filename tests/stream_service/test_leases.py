"""Who reads which shard: evenly, parents first, and never two at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from churn.store import PredictionStore, open_store
from churn.store.interface import Lease
from stream_service.leases import Leases, readable
from stream_service.records import Shard
from tests.fakes import Clock


class Member:
    """A worker reduced to its leases: takes and gives as it is told."""

    def __init__(self, store: PredictionStore, name: str, clock: Clock) -> None:
        self.leases = Leases(store, "consumer", name, 20.0, clock)
        self.held: dict[str, Lease] = {}

    def round(self, shards: list[Shard]) -> None:
        balance = self.leases.balance(shards, self.held)
        for shard_id in balance.lost:
            del self.held[shard_id]
        for shard_id in balance.give_up:
            self.leases.release(self.held.pop(shard_id))
        self.held |= {lease.shard_id: lease for lease in balance.taken}

    def leave(self) -> None:
        for lease in self.held.values():
            self.leases.release(lease)
        self.held = {}
        self.leases.leave()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PredictionStore]:
    made = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    made.check()
    yield made
    made.close()


def shards(count: int) -> list[Shard]:
    return [Shard(f"shard-{number}", (), False) for number in range(count)]


def settle(members: list[Member], all_shards: list[Shard]) -> list[int]:
    for _ in range(4):
        for member in members:
            member.round(all_shards)
    held = [shard_id for member in members for shard_id in member.held]
    assert len(held) == len(set(held))
    return sorted(len(member.held) for member in members)


@pytest.mark.parametrize(
    ("workers", "count", "expected"),
    [(1, 4, [4]), (2, 4, [2, 2]), (2, 5, [2, 3]), (3, 4, [1, 1, 2]), (3, 2, [0, 1, 1]), (5, 12, [2, 2, 2, 3, 3])],
)
def test_shards_are_shared_evenly(store: PredictionStore, workers: int, count: int, expected: list[int]) -> None:
    members = [Member(store, f"worker-{number}", Clock()) for number in range(workers)]

    assert settle(members, shards(count)) == expected


def test_newcomers_get_their_share_and_leavers_give_theirs_back(store: PredictionStore) -> None:
    clock = Clock()
    first, second = Member(store, "first", clock), Member(store, "second", clock)
    assert settle([first], shards(6)) == [6]
    assert settle([first, second], shards(6)) == [3, 3]

    second.leave()

    assert settle([first], shards(6)) == [6]


def test_an_even_share_is_left_as_it_is(store: PredictionStore) -> None:
    members = [Member(store, f"worker-{number}", Clock()) for number in range(3)]
    settle(members, shards(7))
    before = [dict(member.held) for member in members]

    settle(members, shards(7))

    assert [set(member.held) for member in members] == [set(held) for held in before]


def test_a_dead_worker_is_replaced_once_its_lease_expires(store: PredictionStore) -> None:
    clock = Clock()
    dead, standby = Member(store, "dead", clock), Member(store, "standby", clock)
    dead.round(shards(2))
    clock.advance(19)
    standby.round(shards(2))
    assert standby.held == {}

    clock.advance(2)
    standby.round(shards(2))

    assert set(standby.held) == {"shard-0", "shard-1"}
    assert all(lease.token == 2 for lease in standby.held.values())
    dead.round(shards(2))
    assert dead.held == {}


def test_seats_are_used_again_so_that_the_store_does_not_grow(store: PredictionStore) -> None:
    clock = Clock()
    for number in range(100):
        member = Member(store, f"worker-{number}", clock)
        member.round(shards(1))
        clock.advance(21)

    assert len(store.shards("consumer/workers")) == 1


def test_children_wait_for_all_their_parents() -> None:
    family = [
        Shard("a", (), True),
        Shard("b", (), True),
        Shard("merged", ("a", "b"), True),
        Shard("child", ("merged",), False),
        Shard("orphan", ("gone",), False),
    ]

    def names(finished: set[str]) -> list[str]:
        return [shard.shard_id for shard in readable(family, finished)]

    assert names(set()) == ["a", "b", "orphan"]
    assert names({"a"}) == ["b", "orphan"]
    assert names({"a", "b"}) == ["merged", "orphan"]
    assert names({"a", "b", "merged"}) == ["child", "orphan"]
