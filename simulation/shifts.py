"""Named shifts of the traffic, with known onset and columns: what the watch must find.

Shifted records stay valid for their contract: they are answered, not refused.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import ClassVar

from churn.contract import Feature
from churn.prediction import Value
from simulation.customers import Customer


@dataclass(frozen=True, slots=True)
class Onset:
    """When a shift is on: start <= position < end, in rows or in seconds since the first row."""

    start: float = 0.0
    end: float = math.inf
    unit: str = "rows"

    def covers(self, index: int, seconds: float) -> bool:
        return self.start <= (index if self.unit == "rows" else seconds) < self.end


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift(ABC):
    """One shift, ready to apply. `columns` are the features it changes; none for a shift of the labels."""

    spec: str
    onset: Onset
    columns: tuple[str, ...] = ()
    kind: ClassVar[str]

    @abstractmethod
    def apply(self, customer: Customer, random: Random) -> Customer:
        """The customer as the shifted world shows it. Draws only from `random`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanShift(Shift):
    """Adds an amount to a number: so many standard deviations of the column."""

    kind = "mean_shift"
    feature: Feature
    amount: float

    def apply(self, customer: Customer, random: Random) -> Customer:
        return _changed(customer, self.feature, lambda value: _moved(value, self.amount, self.feature, random))


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitChange(Shift):
    """Multiplies a number, as when dollars become cents."""

    kind = "unit_change"
    feature: Feature
    factor: float

    def apply(self, customer: Customer, random: Random) -> Customer:
        return _changed(
            customer, self.feature, lambda value: _moved(value, value * (self.factor - 1), self.feature, random)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentOnly(Shift):
    """A mean shift among the customers of one level only."""

    kind = "segment_only"
    feature: Feature
    amount: float
    segment: str
    level: Value

    def apply(self, customer: Customer, random: Random) -> Customer:
        if customer.features.get(self.segment) != self.level:
            return customer
        return _changed(customer, self.feature, lambda value: _moved(value, self.amount, self.feature, random))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplacedValue(Shift):
    """Puts one value in place of a column's own, for a share of the records."""

    share: float
    value: Value

    def apply(self, customer: Customer, random: Random) -> Customer:
        if random.random() >= self.share:
            return customer
        return replace(customer, features={**customer.features, self.columns[0]: self.value})


class NewCategory(ReplacedValue):
    """A share of the records carries a level that the contract does not list."""

    kind = "new_category"


class NullBurst(ReplacedValue):
    """A share of the records lacks a feature."""

    kind = "null_burst"


class CategoryMove(ReplacedValue):
    """A level gains points at the cost of the others."""

    kind = "category_move"


class UpstreamFreeze(ReplacedValue):
    """A feed stands still: every record repeats the same value."""

    kind = "upstream_freeze"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decouple(Shift):
    """Takes a column's value from another customer: its distribution stays, what hangs together no longer does."""

    kind = "decouple"
    pool: tuple[Value, ...]

    def apply(self, customer: Customer, random: Random) -> Customer:
        return replace(customer, features={**customer.features, self.columns[0]: random.choice(self.pool)})


@dataclass(frozen=True, slots=True, kw_only=True)
class ConceptDrift(Shift):
    """Turns the label of a share of the customers: features as ever, another truth."""

    kind = "concept_drift"
    share: float

    def apply(self, customer: Customer, random: Random) -> Customer:
        return replace(customer, churned=not customer.churned) if random.random() < self.share else customer


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelDelay(Shift):
    """Makes labels come later."""

    kind = "label_delay"
    seconds: float

    def apply(self, customer: Customer, random: Random) -> Customer:
        return replace(customer, label_delay_seconds=customer.label_delay_seconds + self.seconds)


def _changed(customer: Customer, feature: Feature, change: Callable[[float], float]) -> Customer:
    value = customer.features.get(feature.name)
    if value is None or isinstance(value, str):
        return customer
    return replace(customer, features={**customer.features, feature.name: change(value)})


def _moved(value: float, amount: float, feature: Feature, random: Random) -> float:
    """Within the feature's range. Whole numbers are rounded up or down by chance, so that the mean moves exactly."""
    moved = value + amount
    if feature.type == "integer":
        moved = math.floor(moved + random.random())
    if feature.minimum is not None:
        moved = max(moved, feature.minimum)
    if feature.maximum is not None:
        moved = min(moved, feature.maximum)
    return int(moved) if feature.type == "integer" else moved
