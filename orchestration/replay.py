"""The rows that a promotion is judged on: the newest logged requests, those with mature labels, or the test rows.

Each model answers the same rows through its own encoder, as the services would.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from churn.bundle import Bundle
from churn.columns import ColumnEncoder
from churn.contract import Contract
from churn.encoder import frame_records
from churn.errors import DataError, InvalidInput
from churn.feature_store import FeatureStore
from churn.performance import MATURE_COVERAGE
from churn.prediction import Prediction, as_asked
from churn.scoring import Scorer
from churn.split import split
from churn.store import PredictionStore

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

ROWS_A_CALL = 5_000
"""As many rows as are encoded at once: bounds the memory of a long replay."""
TIMED_REQUESTS = 200
ID_COLUMN = "customer_id"
SHORTEST_SPAN = timedelta(minutes=1)
LONGEST_SPAN = timedelta(days=400)
SPANS_TRIED = 24
LABEL_AGES_DAYS = (0, 1, 2, 4, 8, 16, 32, 64, 128)
"""Cohorts by age: labels come late, so that the newest cohorts are seldom complete."""


@dataclass(frozen=True)
class Rows:
    """Requests as logged, newest last, or customers of the test rows. `churned` where their labels are known."""

    source: str
    records: Sequence[Mapping[str, Any]]
    churned: Flags | None = None
    routes: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.records)


@dataclass(frozen=True)
class Answers:
    """One model's answers to rows, in order. Where `refused`, its contract takes the row no longer: score NaN."""

    probabilities: Floats
    contacted: Flags
    refused: Flags
    first_refusal: str = ""

    def at(self, rows: Flags) -> Answers:
        return Answers(self.probabilities[rows], self.contacted[rows], self.refused[rows], self.first_refusal)


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds for one request alone, from fields to answer, without network and log; and for one row of a batch."""

    median_seconds: float
    p95_seconds: float
    batch_row_seconds: float


def newest_requests(store: PredictionStore, contract: str, count: int, now: datetime) -> Rows:
    """The newest `count` logged predictions of a contract, by whichever model and route."""
    start = _start_of_newest(store, contract, count, now)
    newest = deque(store.window(contract, None, start, now), maxlen=count)
    routes: Counter[str] = Counter(prediction.route for prediction in newest)
    return Rows(f"{len(newest):,} newest logged requests", [as_asked(p) for p in newest], routes=dict(routes))


def labelled_requests(
    store: PredictionStore, contract: str, count: int, now: datetime, learnt: frozenset[str] = frozenset()
) -> Rows:
    """Up to `count` logged predictions with labels, of the newest cohorts whose labels are nearly complete.

    Cohorts with few labels are left out: those who leave are often known long before those who stay. So is whom a
    model has `learnt` from, by the log's id.
    """
    found: list[tuple[Prediction, bool]] = []
    for newest, oldest in pairwise(LABEL_AGES_DAYS):
        start, end = now - timedelta(days=oldest), now - timedelta(days=newest)
        labels, cohort = 0, list[tuple[Prediction, bool]]()
        for prediction, label in store.labelled(contract, None, start, end):
            labels += 1
            if prediction.customer_id not in learnt and prediction.prediction_id not in learnt:
                cohort.append((prediction, label.churned))
            if len(cohort) == count - len(found):
                end = prediction.created_at + timedelta(microseconds=1)
                break
        if cohort and labels >= MATURE_COVERAGE * store.count(contract, None, start, end):
            found += cohort
        if len(found) >= count:
            break
    churned = np.array([label for _, label in found], dtype=bool)
    routes: Counter[str] = Counter(prediction.route for prediction, _ in found)
    source = f"{len(found):,} logged requests with mature labels" + (" that no model learnt from" if learnt else "")
    return Rows(source, [as_asked(prediction) for prediction, _ in found], churned, dict(routes))


def unseen_rows(features: FeatureStore, bundle: Bundle) -> Rows:
    """The test rows of the features a bundle was tuned on, which nothing of it was chosen by.

    Raises FeatureStoreError, or DataError when the bundle does not say what it was tuned on.
    """
    facts = bundle.manifest["facts"]
    try:
        version, seed = str(facts["features_version"]), int(facts["seed"])
    except KeyError:
        raise DataError(f"the bundle of run {bundle.run_id} does not name its features; tune it again") from None
    frame = features.read(bundle.contract.name, version)
    test = frame.iloc[split(frame, seed).test]
    records = frame_records(test, bundle.contract.feature_names)
    return Rows(f"{len(test):,} test rows of features {version}", records, test["churned"].to_numpy(dtype=bool))


def learnt_from_the_log(features: FeatureStore, bundle: Bundle) -> frozenset[str]:
    """The log's ids of everyone whom a retrained model has learnt from; none for a model of ingested rows alone.

    Raises FeatureStoreError when that cannot be told.
    """
    facts = bundle.manifest["facts"]
    version = facts.get("features_version")
    if not version or not features.manifest(bundle.contract.name, version).base_version:
        return frozenset()
    frame = features.read(bundle.contract.name, version)
    parts = split(frame, int(facts["seed"]))
    ids = frame[ID_COLUMN].to_numpy()
    return frozenset(ids[parts.train]) | frozenset(ids[parts.validation])


def answers(bundle: Bundle, rows: Rows, progress: Callable[[], None] = lambda: None) -> Answers:
    """Every row through a bundle's encoder, model, calibration and threshold. `progress` is called now and then."""
    encoder = ColumnEncoder(bundle.encoder)
    probabilities = np.full(len(rows), np.nan)
    refused = np.zeros(len(rows), dtype=bool)
    first_refusal = ""
    for first in range(0, len(rows), ROWS_A_CALL):
        part = slice(first, first + ROWS_A_CALL)
        outcomes, matrix = encoder.clean(rows.records[part])
        wrong = np.array([isinstance(outcome, InvalidInput) for outcome in outcomes])
        if wrong.any():
            first_refusal = first_refusal or str(outcomes[int(np.argmax(wrong))])
        refused[part] = wrong
        if not wrong.all():
            probabilities[np.arange(first, first + len(wrong))[~wrong]] = bundle.probabilities(matrix)
        progress()
    return Answers(probabilities, probabilities >= bundle.threshold, refused, first_refusal)


def latency(bundle: Bundle, rows: Rows, seconds: Callable[[], float] = time.perf_counter) -> Latency:
    """Time requests one by one, after a round that warms up, then as one batch."""
    scorer, some = Scorer(bundle), rows.records[-TIMED_REQUESTS:]
    scorer.score(some, "batch")
    taken = []
    for record in some:
        began = seconds()
        scorer.score([record], "batch")
        taken.append(seconds() - began)
    began = seconds()
    scorer.score(some, "batch")
    batch = (seconds() - began) / max(len(some), 1)
    return Latency(float(np.median(taken)), float(np.quantile(taken, 0.95)), batch)


def segments(contract: Contract, rows: Rows) -> list[tuple[str, str, Flags]]:
    """Every level of every feature that has levels, with the rows it holds; a missing value is a level too."""
    found = []
    for feature in contract.features:
        if feature.is_numeric:
            continue
        values = np.array([str(record.get(feature.name)) for record in rows.records], dtype=object)
        levels = ["True", "False"] if feature.type == "boolean" else list(feature.levels)
        for level in [*levels, "None"]:
            holds = np.asarray(values == level, dtype=bool)
            if holds.any():
                found.append((feature.name, "missing" if level == "None" else level, holds))
    return found


def _start_of_newest(store: PredictionStore, contract: str, count: int, now: datetime) -> datetime:
    """A moment after which there are `count` predictions or somewhat more, found by counting, not by reading."""
    span = SHORTEST_SPAN
    while span < LONGEST_SPAN and store.count(contract, None, now - span, now) < count:
        span *= 2
    shorter, longer = span / 2, span
    for _ in range(SPANS_TRIED):
        middle = (shorter + longer) / 2
        found = store.count(contract, None, now - middle, now)
        if found < count:
            shorter = middle
        else:
            longer = middle
            if found <= 2 * count:
                break
    return now - longer
