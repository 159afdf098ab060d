"""Labelled requests of the log, as of a moment: the features of each prediction, and what came true after it.

Three rules keep the future out. The features are those that the prediction was made from, never the customer's newest.
A label counts only when it was observed after its prediction: features of later may tell the outcome. And what became
known after the moment asked for is not known. One row a customer, its newest, so that no customer can stand on both
sides of a split.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise

from churn.performance import MATURE_COVERAGE
from churn.prediction import Prediction
from churn.store import PredictionStore
from orchestration.replay import LABEL_AGES_DAYS

LABEL_BEFORE = "its label was observed before the prediction was made, or with it"
COHORT_AGES_DAYS = (*LABEL_AGES_DAYS, 256, 512)


@dataclass(frozen=True, slots=True)
class Learnable:
    """One request that may be learnt from. `customer_id` is as the log knows it, else the prediction's own id."""

    customer_id: str
    prediction: Prediction
    churned: bool


@dataclass
class Matured:
    """What the log holds: rows, oldest first; how many were left out, by reason; cohorts whose labels are too few."""

    rows: list[Learnable] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    immature_cohorts: int = 0


def matured_requests(store: PredictionStore, contract: str, as_of: datetime, most: int) -> Matured:
    """Up to `most` customers, the newest, of cohorts whose labels were nearly complete at `as_of`.

    Cohorts with few labels are left out: those who leave are often known long before those who stay.
    """
    found, taken = Matured(), set[str]()
    for newest, oldest in pairwise(COHORT_AGES_DAYS):
        start, end = as_of - timedelta(days=oldest), as_of - timedelta(days=newest)
        cohort = _Cohort(most - len(taken))
        for learnable in cohort.known(store, contract, start, end, as_of):
            if learnable.customer_id not in taken:
                cohort.keep(learnable)
        if not cohort.labels:
            continue
        if cohort.labels < MATURE_COVERAGE * store.count(contract, None, start, end):
            found.immature_cohorts += 1
            continue
        taken.update(cohort.newest)
        found.rows[:0] = cohort.newest.values()
        found.left_out += cohort.left_out
        if len(taken) >= most:
            break
    return found


class _Cohort:
    """The newest request of each customer in a stretch of time; holds no more than `most`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.newest: dict[str, Learnable] = {}
        self.left_out: Counter[str] = Counter()
        self.labels = 0

    def known(
        self, store: PredictionStore, contract: str, start: datetime, end: datetime, as_of: datetime
    ) -> Iterator[Learnable]:
        for prediction, label in store.labelled(contract, None, start, end):
            if label.observed_at > as_of:
                continue  # nobody knew it then
            self.labels += 1
            if label.observed_at <= prediction.created_at:
                self.left_out[LABEL_BEFORE] += 1
                continue
            yield Learnable(prediction.customer_id or prediction.prediction_id, prediction, label.churned)

    def keep(self, one: Learnable) -> None:
        self.newest.pop(one.customer_id, None)  # so that the order is by time of the newest
        self.newest[one.customer_id] = one
        if len(self.newest) > self._most:
            del self.newest[next(iter(self.newest))]
