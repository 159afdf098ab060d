"""Which rows a promotion is judged on."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from churn.bundle import Bundle
from churn.contract import Contract
from churn.prediction import Label
from churn.scoring import Scorer
from churn.store import PredictionStore, open_store
from orchestration.replay import Rows, answers, labelled_requests, latency, newest_requests, segments
from tests.fakes import Clock, make_bundle, random_customers, records

NOW = Clock().time


@pytest.fixture
def store(tmp_path: Path) -> PredictionStore:
    store = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    store.check()
    return store


def fill(store: PredictionStore, bundle: Bundle, times: list[datetime], prefix: str = "p") -> list[str]:
    """One prediction at each time."""
    fields = records(random_customers(bundle.contract, len(times), seed=3), bundle.contract)
    ids = [f"{prefix}{number:06d}" for number in range(len(times))]
    for moment, record, one in zip(times, fields, ids, strict=True):
        scored = Scorer(bundle, lambda moment=moment: moment).score([record], "http", [one])  # type: ignore[misc]
        store.save(scored)  # type: ignore[arg-type]  # all are valid
    return ids


@pytest.mark.parametrize("count", [1, 7, 30, 100])
def test_the_newest_requests_are_those(store: PredictionStore, bundle: Bundle, count: int) -> None:
    """Bursts and silences: some minutes ago, some weeks ago."""
    ages = [timedelta(days=40, seconds=i) for i in range(20)] + [timedelta(seconds=90 - i) for i in range(40)]
    fill(store, bundle, sorted(NOW - age for age in ages))
    rows = newest_requests(store, "credit_card", count, NOW)
    everything = list(store.window("credit_card", None, NOW - timedelta(days=99), NOW))

    assert rows.records == [p.features for p in everything[-count:]]
    assert rows.routes == {"http": min(count, 60)}


def test_an_empty_log_gives_no_requests(store: PredictionStore) -> None:
    assert len(newest_requests(store, "credit_card", 10, NOW)) == 0
    assert len(labelled_requests(store, "credit_card", 10, NOW)) == 0


def test_cohorts_with_few_labels_do_not_count(store: PredictionStore, bundle: Bundle) -> None:
    """Half a day ago: leavers only are known. Three days ago: all."""
    young = fill(store, bundle, [NOW - timedelta(hours=12, seconds=i) for i in range(20)], "young")
    old = fill(store, bundle, [NOW - timedelta(days=3, seconds=i) for i in range(20)], "old")
    store.label([Label(prediction_id=one, churned=True, observed_at=NOW) for one in young[:5]])
    store.label([Label(prediction_id=one, churned=i < 4, observed_at=NOW) for i, one in enumerate(old)])
    rows = labelled_requests(store, "credit_card", 1_000, NOW)

    assert rows.churned is not None
    assert (len(rows), int(rows.churned.sum())) == (20, 4)


def test_no_more_labels_than_asked_for(store: PredictionStore, bundle: Bundle) -> None:
    ids = fill(store, bundle, [NOW - timedelta(hours=1, seconds=i) for i in range(30)])
    store.label([Label(prediction_id=one, churned=True, observed_at=NOW) for one in ids])

    assert len(labelled_requests(store, "credit_card", 10, NOW)) == 10


def test_answers_are_those_of_the_service(bundle: Bundle, credit_card: Contract) -> None:
    fields = records(random_customers(credit_card, 300, seed=2), credit_card)
    given = answers(bundle, Rows("", fields))
    served: list[Any] = Scorer(bundle).score(fields, "http")

    assert given.probabilities.tolist() == [p.churn_probability for p in served]
    assert given.contacted.tolist() == [p.churn for p in served]


def test_a_row_that_no_longer_fits_is_counted_with_its_reason(bundle: Bundle, credit_card: Contract) -> None:
    fields = records(random_customers(credit_card, 4, seed=2), credit_card)
    given = answers(
        bundle, Rows("", [{**record, "customer_age": -1 if i in (1, 2) else 40} for i, record in enumerate(fields)])
    )

    assert given.refused.tolist() == [False, True, True, False]
    assert np.isnan(given.probabilities).tolist() == [False, True, True, False]
    assert given.first_refusal.startswith("customer_age=-1: expected")


def test_segments_hold_every_row_once_for_each_feature(credit_card: Contract) -> None:
    rows = Rows("", records(random_customers(credit_card, 200, seed=2), credit_card))
    counts: dict[str, int] = {}
    for feature, _, holds in segments(credit_card, rows):
        counts[feature] = counts.get(feature, 0) + int(holds.sum())

    assert set(counts.values()) == {200}
    assert set(counts) == {feature.name for feature in credit_card.features if not feature.is_numeric}


def test_latency_is_told_by_the_clock(bundle: Bundle, credit_card: Contract) -> None:
    ticks = iter(range(10_000))
    found = latency(
        bundle, Rows("", records(random_customers(credit_card, 50), credit_card)), lambda: float(next(ticks))
    )

    assert (found.median_seconds, found.p95_seconds, found.batch_row_seconds) == (1.0, 1.0, 1 / 50)


def test_a_logged_request_with_an_unlisted_level_is_asked_again_as_it_was(
    store: PredictionStore, tmp_path: Path
) -> None:
    bank = make_bundle(tmp_path / "bank", "bank")
    record = records(random_customers(bank.contract, 1), bank.contract)[0] | {"country": "Portugal"}
    first = Scorer(bank, lambda: NOW).score_one(record, "http")
    store.save([first])

    again = answers(bank, newest_requests(store, "bank", 1, NOW + timedelta(seconds=1)))

    assert first.unknown == ("country",)
    assert again.refused.tolist() == [False]
    assert again.probabilities.tolist() == pytest.approx([first.churn_probability], abs=1e-12)
