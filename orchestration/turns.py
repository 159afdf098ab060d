"""One at a time for a contract: a turn held by a lease in the store, of the kind that stream workers hold shards by."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from collections.abc import Callable, Iterator
from datetime import datetime

from churn.errors import ChurnwatchError, LeaseLost
from churn.store import PredictionStore


class TurnTaken(ChurnwatchError):
    """Another process holds the turn, or took it while this one was silent."""


@contextlib.contextmanager
def turn(
    store: PredictionStore, what: str, contract: str, now: Callable[[], datetime], seconds: float
) -> Iterator[Callable[[], None]]:
    """Hold the contract's turn; what it gives renews the lease, and raises TurnTaken when it was lost.

    Who dies without giving the turn back holds it for `seconds` after its last renewal.
    """
    owner = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    lease = store.acquire_shard(f"{what}s", contract, owner, now(), seconds)
    if lease is None:
        holder = next((shard for shard in store.shards(f"{what}s") if shard.shard_id == contract), None)
        until = f"{holder.expires_at:%H:%M:%S} UTC at the latest" if holder and holder.expires_at else "it ends"
        raise TurnTaken(f"another {what} of {contract} is under way; wait until {until}, then try again")
    held = [lease]

    def keep() -> None:
        try:
            held[0] = store.renew_shard(held[0], now(), seconds)
        except LeaseLost as error:
            raise TurnTaken(f"another {what} of {contract} took over; nothing was changed") from error

    try:
        yield keep
    finally:
        store.release_shard(held[0])
