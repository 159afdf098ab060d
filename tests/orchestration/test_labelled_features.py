"""What a retraining learns from: the log as it was known, with nothing of the future in it."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
from moto import mock_aws

from churn.bundle import Bundle
from churn.contract import Contract, parse_contract
from churn.errors import DataError, FeatureStoreError
from churn.feature_store import FeatureStore, Manifest
from churn.performance import auc
from churn.prediction import Label, Prediction
from churn.pseudonym import pseudonyms
from churn.split import split
from churn.store import PredictionStore, open_store
from churn.store.interface import Customer
from orchestration.claims import NothingNew
from orchestration.gathering import Candidates, gather
from orchestration.ingest import ingest
from orchestration.labelled_features import Wanted, publish
from orchestration.matured import LABEL_BEFORE, matured_requests
from orchestration.replay import learnt_from_the_log
from orchestration.training import load_training_set
from tests.fakes import Clock, make_bundle, pseudonym_key, random_customers, records
from tests.orchestration.conftest import raw_rows

NOW = Clock().time
OVERWRITTEN = "total_trans_ct"
"""A column that plays no part in who leaves here, until someone writes the outcome into it."""


@pytest.fixture(scope="module")
def features() -> Iterator[FeatureStore]:
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test")
        yield FeatureStore("features-here", client)


@pytest.fixture
def store(tmp_path: Path) -> PredictionStore:
    store = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    store.check()
    return store


@pytest.fixture(scope="module")
def base(credit_card: Contract, features: FeatureStore, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Two hundred ingested customers: what every retraining here starts from."""
    rows, path = raw_rows(credit_card, 200), tmp_path_factory.mktemp("base") / "customers.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return ingest(path, credit_card, features, NOW - timedelta(days=60), "0a1b2c3d")


class Log:
    """Customers who were scored once, with what came true of each."""

    def __init__(self, store: PredictionStore, contract: Contract, customers: int, seed: int = 1) -> None:
        self.store, self.contract = store, contract
        frame = random_customers(contract, customers, seed)
        self.fields = records(frame, contract)
        self.churned = [bool(one) for one in frame["churned"]]
        self.names = [f"c{seed}-{number}" for number in range(customers)]

    def score(self, at: datetime, prefix: str = "p", **changed: list[Any]) -> list[str]:
        """A prediction for each, some fields changed; returns their ids."""
        ids = [f"{prefix}-{name}" for name in self.names]
        self.store.save([self._prediction(at, i, ids[i], changed) for i in range(len(ids))])
        return ids

    def label(self, ids: list[str], at: datetime) -> None:
        pairs = zip(ids, self.churned, strict=True)
        self.store.label([Label(prediction_id=one, churned=churned, observed_at=at) for one, churned in pairs])

    def _prediction(self, at: datetime, i: int, one: str, changed: dict[str, list[Any]]) -> Prediction:
        return Prediction(
            prediction_id=one,
            created_at=at + timedelta(seconds=i),
            contract=self.contract.name,
            contract_hash=self.contract.hash,
            model_run_id="a" * 32,
            route="http",
            features=self.fields[i] | {name: values[i] for name, values in changed.items()},
            churn_probability=0.5,
            churn=True,
            threshold=0.5,
            latency_seconds=0.0,
            customer_id=self.names[i],
        )


def plain(customer_id: str) -> str:
    return customer_id


tokens = (f"{number:08x}" for number in count())


def wanted(**changed: Any) -> Wanted:
    return Wanted(**{"as_of": NOW, "most": 10_000, "token": next(tokens), **changed})


def test_a_planted_leak_does_not_get_in(
    base: Manifest, features: FeatureStore, store: PredictionStore, credit_card: Contract
) -> None:
    """Customers are scored, leave or stay, and are scored again once a job has written the outcome into a column.

    The online view holds the overwritten column too. All requests have labels.
    """
    log = Log(store, credit_card, 200)
    clean = log.score(NOW - timedelta(days=30))
    log.label(clean, NOW - timedelta(days=20))
    told = [1 if churned else 99 for churned in log.churned]
    again = log.score(NOW - timedelta(days=10), "again", **{OVERWRITTEN: told})
    log.label(again, NOW - timedelta(days=20))
    newest = [f | {OVERWRITTEN: v} for f, v in zip(log.fields, told, strict=True)]
    store.put_customers("credit_card", [Customer(n, f, NOW) for n, f in zip(log.names, newest, strict=True)])

    manifest = publish(credit_card, features, store, plain, wanted())
    frame = features.read("credit_card", manifest.version)
    learnt = frame[frame["customer_id"].isin(log.names)]

    assert learnt[OVERWRITTEN].tolist() == [one[OVERWRITTEN] for one in log.fields]
    assert learnt["churned"].tolist() == log.churned
    assert auc(-np.asarray(told, dtype=float), np.asarray(log.churned)) == 1.0  # so it would have been seen
    assert 0.4 < auc(learnt[OVERWRITTEN].to_numpy(dtype=float), learnt["churned"].to_numpy(dtype=bool)) < 0.6
    assert manifest.validation["log"]["left_out"] == {LABEL_BEFORE: 200}


def test_what_became_known_later_is_not_known(store: PredictionStore, credit_card: Contract) -> None:
    """As of ten days ago, nobody had a label; as of five, half of the customers had."""
    log = Log(store, credit_card, 40)
    ids = log.score(NOW - timedelta(days=30))
    half = Log(store, credit_card, 20, seed=2)
    half.label(half.score(NOW - timedelta(days=31)), NOW - timedelta(days=7))
    log.label(ids, NOW - timedelta(days=2))

    def known(days: float) -> list[str]:
        return [row.customer_id for row in matured_requests(store, "credit_card", NOW - timedelta(days=days), 99).rows]

    assert known(10) == []
    assert known(5) == []  # the cohort of both: 20 of 60 labels are too few
    assert known(1) == [*half.names, *log.names]


def test_a_changed_truth_counts_only_from_when_it_was_observed(store: PredictionStore, credit_card: Contract) -> None:
    log = Log(store, credit_card, 30)
    log.label(log.score(NOW - timedelta(days=3)), NOW + timedelta(hours=1))

    assert matured_requests(store, "credit_card", NOW, 99).rows == []


def test_every_customer_stands_in_it_once_as_newest_known(store: PredictionStore, credit_card: Contract) -> None:
    log = Log(store, credit_card, 20)
    for days in (40, 30, 3):
        log.label(log.score(NOW - timedelta(days=days), f"d{days}"), NOW - timedelta(days=1))
    found = matured_requests(store, "credit_card", NOW, 99).rows

    assert [row.customer_id for row in found] == log.names
    assert {row.prediction.prediction_id.partition("-")[0] for row in found} == {"d3"}


def test_of_many_customers_the_newest_are_kept(store: PredictionStore, credit_card: Contract) -> None:
    log = Log(store, credit_card, 50)
    log.label(log.score(NOW - timedelta(days=3)), NOW - timedelta(days=1))

    assert [row.customer_id for row in matured_requests(store, "credit_card", NOW, 7).rows] == log.names[-7:]


def test_a_version_replaces_ingested_customers_by_what_the_log_knows_of_them(
    base: Manifest, features: FeatureStore, store: PredictionStore, credit_card: Contract
) -> None:
    """By pseudonym, as the log knows them."""
    pseudonym = pseudonyms(credit_card, pseudonym_key)
    log = Log(store, credit_card, 30)
    log.names = [pseudonym(str(1000 + number)) for number in range(30)]
    log.label(log.score(NOW - timedelta(days=3)), NOW - timedelta(days=1))
    manifest = publish(credit_card, features, store, pseudonym, wanted())
    frame = features.read("credit_card", manifest.version)

    assert (manifest.rows, manifest.base_version) == (200, base.version)
    assert manifest.validation["log"]["replaced_customers"] == 30
    assert frame["customer_id"].is_unique
    assert frame["customer_id"].tolist()[-30:] == log.names
    assert frame["credit_limit"].tolist()[-30:] == [one["credit_limit"] for one in log.fields]
    assert load_training_set(credit_card, features, manifest.version, 7).manifest == manifest


def test_a_retraining_starts_from_what_was_ingested_not_from_another_retraining(
    base: Manifest, features: FeatureStore, store: PredictionStore, credit_card: Contract
) -> None:
    log = Log(store, credit_card, 30)
    log.label(log.score(NOW - timedelta(days=3)), NOW - timedelta(days=1))
    publish(credit_card, features, store, plain, wanted())
    again = publish(credit_card, features, store, plain, wanted(as_of=NOW + timedelta(hours=1)))

    assert (again.base_version, again.rows) == (base.version, 230)


def test_requests_that_do_not_fit_the_contract_are_set_aside_and_too_many_end_it(
    base: Manifest, features: FeatureStore, store: PredictionStore, credit_card: Contract
) -> None:
    log = Log(store, credit_card, 40)
    ages = [one["customer_age"] for one in log.fields]
    log.label(log.score(NOW - timedelta(days=3), customer_age=[999, *ages[1:]]), NOW - timedelta(days=1))
    manifest = publish(credit_card, features, store, plain, wanted())

    assert (manifest.rows, manifest.quarantined_rows) == (239, 1)
    assert "customer_age=999" in features.quarantine("credit_card", manifest.version)["reason"][0]
    with pytest.raises(DataError, match="1 of 40 labelled requests do not fit contract credit_card"):
        publish(credit_card, features, store, plain, wanted(maximum_bad_share=0.0))


def test_too_few_labels_are_nothing_new(
    base: Manifest, features: FeatureStore, store: PredictionStore, credit_card: Contract
) -> None:
    Log(store, credit_card, 30).score(NOW - timedelta(days=3))
    before = features.versions("credit_card")

    with pytest.raises(NothingNew, match=r"holds 0 labelled requests to learn from, 50 are needed"):
        publish(credit_card, features, store, plain, wanted(fewest=50))
    assert features.versions("credit_card") == before


def test_another_contract_needs_another_ingest(
    base: Manifest, features: FeatureStore, store: PredictionStore, credit_card: Contract
) -> None:
    newer = parse_contract(credit_card.text.replace("retention_days = ", "retention_days = 1"))

    with pytest.raises(FeatureStoreError, match="ingest the file again"):
        publish(newer, features, store, plain, wanted())


@pytest.mark.integration  # no server, but a second of bootstrap
def test_a_model_is_judged_on_nobody_it_learnt_from(
    base: Manifest, features: FeatureStore, store: PredictionStore, credit_card: Contract, tmp_path: Path
) -> None:
    """Of 1,500 labelled customers, those in the test part of its version are left."""
    log = Log(store, credit_card, 1_500)
    log.label(log.score(NOW - timedelta(days=3)), NOW - timedelta(days=1))
    manifest = publish(credit_card, features, store, plain, wanted())
    frame = features.read("credit_card", manifest.version)
    tested = set(frame["customer_id"].iloc[split(frame, 7).test]) & set(log.names)
    retrained = make_bundle(
        tmp_path / "retrained", run_id="b" * 32, facts={"features_version": manifest.version, "seed": 7}
    )
    evidence = gather(Candidates(retrained), credit_card, 5_000, store, features, lambda: NOW)

    assert set(log.names) - learnt_from_the_log(features, retrained) == tested
    assert evidence.truth.rows == len(tested) > 250
    assert evidence.truth.source.endswith("that no model learnt from")
    assert evidence.requests.rows == 1_500  # decisions are compared on all


def test_a_model_of_ingested_rows_learnt_nothing_from_the_log(
    base: Manifest, features: FeatureStore, bundle: Bundle, tmp_path: Path
) -> None:
    ingested = make_bundle(tmp_path / "b", rows=200, rounds=1, facts={"features_version": base.version, "seed": 7})

    assert learnt_from_the_log(features, ingested) == frozenset()
    assert learnt_from_the_log(features, bundle) == frozenset()  # it does not say what it was tuned on
