"""Ground truth as both homes join it: at reading time, so that it may come before its prediction or after it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from churn.errors import FieldProblem, InvalidInput
from churn.prediction import Label, Prediction
from churn.store.interface import Labelled
from churn.store.records import from_microseconds, microseconds


def check_label(label: Label) -> None:
    """Raises InvalidInput for a label that names neither a prediction nor a customer of a contract."""
    if label.prediction_id is None and label.customer_id is None:
        raise InvalidInput([FieldProblem("prediction_id", None, "a prediction_id, or a customer_id and a contract")])
    if label.prediction_id is None and label.contract is None:
        raise InvalidInput([FieldProblem("contract", None, "the contract's name beside a customer_id")])


Ground = tuple[bool, int]
"""Ground truth as compared: churned, and observed at (microseconds)."""


def in_force(created: int, by_id: Ground | None, by_customer: Ground | None) -> tuple[Ground | None, bool]:
    """The truth that holds for a prediction, the later observed one, and whether it came by customer.

    A customer's truth holds for predictions created at or before it was observed."""
    if by_customer is None or created > by_customer[1] or (by_id is not None and by_id[1] >= by_customer[1]):
        return by_id, False
    return by_customer, True


def label_in_force(prediction: Prediction, ground: Ground, by_customer: bool) -> Label:
    """The label that a prediction carries, named as it came: by id, or by customer and contract."""
    churned, observed = ground
    return Label(
        churned=churned,
        observed_at=from_microseconds(observed),
        prediction_id=None if by_customer else prediction.prediction_id,
        customer_id=prediction.customer_id if by_customer else None,
        contract=prediction.contract if by_customer else None,
    )


class Labellable(NamedTuple):
    """What of a prediction decides which labels fit it; `created` in microseconds."""

    prediction_id: str
    contract: str
    customer_id: str | None
    created: int


@dataclass
class Truths:
    """The newest ground truth by prediction id, and by (contract, customer id)."""

    by_id: dict[str, Ground] = field(default_factory=dict)
    by_customer: dict[tuple[str, str], Ground] = field(default_factory=dict)

    def of(self, row: Labellable) -> tuple[Ground | None, bool]:
        by_customer = None if row.customer_id is None else self.by_customer.get((row.contract, row.customer_id))
        return in_force(row.created, self.by_id.get(row.prediction_id), by_customer)

    def keep(self, label: Label) -> None:
        ground = (label.churned, microseconds(label.observed_at))
        if label.prediction_id is not None:
            if label.prediction_id not in self.by_id or ground[1] > self.by_id[label.prediction_id][1]:
                self.by_id[label.prediction_id] = ground
        elif label.customer_id is not None and label.contract is not None:
            customer = (label.contract, label.customer_id)
            if customer not in self.by_customer or ground[1] > self.by_customer[customer][1]:
                self.by_customer[customer] = ground

    def apply(self, labels: Sequence[Label], rows: Iterable[Labellable]) -> Labelled:
        """Keep the labels one after the other and count what became of the rows that they fit."""
        by_id: dict[str, list[Labellable]] = defaultdict(list)
        by_customer: dict[tuple[str, str], list[Labellable]] = defaultdict(list)
        for row in set(rows):
            by_id[row.prediction_id].append(row)
            by_customer[row.contract, row.customer_id or ""].append(row)
        matched = changed = unknown = 0
        for label in labels:
            if label.prediction_id is not None:
                fitting = by_id[label.prediction_id]
            else:
                observed = microseconds(label.observed_at)
                candidates = by_customer[label.contract or "", label.customer_id or ""]
                fitting = [row for row in candidates if row.created <= observed]
            before = [self.of(row)[0] for row in fitting]
            self.keep(label)
            after = [self.of(row)[0] for row in fitting]
            matched += len(fitting)
            changed += sum(bool(old and new and old[0] != new[0]) for old, new in zip(before, after, strict=True))
            unknown += not fitting
        return Labelled(matched=matched, changed=changed, unknown=unknown)
