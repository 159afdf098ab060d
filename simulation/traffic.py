"""Customers and shifts -> the events that a run sends, all known before the first is sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import Any

from churn.errors import SettingError
from simulation.customers import Customer
from simulation.shifts import Shift


@dataclass(frozen=True, slots=True)
class Event:
    """One record to send. `shifts` names the specs that were on for it, whether or not they changed a value."""

    index: int
    event_id: str
    customer: Customer
    shifts: tuple[str, ...]

    def fields(self) -> dict[str, Any]:
        """The record as JSON-like fields."""
        return {**self.customer.features, "customer_id": self.customer.customer_id, "event_id": self.event_id}


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of an event: the time it was first sent (UTC), and its prediction's identity.

    The identity is None when no answer came: refused, or given up.
    """

    event: Event
    route: str
    sent_at: datetime
    prediction_id: str | None


def make_events(
    customers: Iterable[Customer],
    shifts: Sequence[Shift] = (),
    *,
    prefix: str,
    seed: int = 0,
    rate: float = 0.0,
    first: int = 0,
) -> Iterator[Event]:
    """Events numbered from `first`, one a customer. `prefix` sets this run's event ids apart from those of others.

    `rate` (events a second) places shifts whose onset is in seconds; they raise SettingError without one.
    What a shift does to an event depends on the seed, the shift and the event's number only.
    """
    for shift in shifts:
        if shift.onset.unit == "seconds" and rate <= 0:
            raise SettingError("--shift", shift.spec, "an onset in rows such as @500, or a --rate above 0")
    return _events(customers, shifts, prefix, seed, rate, first)


def _events(
    customers: Iterable[Customer], shifts: Sequence[Shift], prefix: str, seed: int, rate: float, first: int
) -> Iterator[Event]:
    for index, customer in enumerate(customers, start=first):
        active = [shift for shift in shifts if shift.onset.covers(index, index / rate if rate else 0.0)]
        for shift in active:
            customer = shift.apply(customer, Random(f"{seed}:{shift.spec}:{index}"))
        yield Event(index, f"{prefix}-{index:07d}", customer, tuple(shift.spec for shift in active))
