"""A file of transactions through an ingest and into the store: versions, the online view, loads that are repeated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import boto3
import pandas as pd
import pytest
from moto import mock_aws

from churn.contract import Contract, load_contract
from churn.errors import DataError, StoreUnavailable
from churn.feature_store import FeatureStore, Manifest
from churn.store import PredictionStore, open_store
from churn.store.interface import Saved
from churn.store.transactions import Transaction
from orchestration.ingest import ingest, ingest_stored, put_customers
from orchestration.transactions.kind import is_transactions
from orchestration.transactions.loading import load
from orchestration.transactions.told import told
from tests.fakes import DATA
from tests.orchestration.transactions.conftest import Line

NOW = datetime(2026, 5, 31, 12, tzinfo=UTC)
Write = Callable[..., Path]


@pytest.fixture
def features() -> Iterator[FeatureStore]:
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test")
        yield FeatureStore("features-here", client)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PredictionStore]:
    store = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    store.check()
    yield store
    store.close()


def publish(path: Path, contract: Contract, features: FeatureStore, day: date | None = None) -> Manifest:
    return ingest(path, contract, features, NOW, "0a1b2c3d", cut_off=day)


def test_customers_are_learnt_from_as_of_the_cut_off_and_served_as_of_the_end(
    lines: list[Line], write: Write, shop: Contract, features: FeatureStore, store: PredictionStore
) -> None:
    manifest = publish(write(lines), shop, features)
    frame = features.read("shop", manifest.version).set_index("customer_id")

    assert frame["churned"].to_dict() == {"anna": False, "bert": True}
    assert frame.loc["anna", "bills"] == 3
    facts = manifest.validation["transactions"]
    assert (facts["cut_off"], facts["lines"], facts["lines_kept"], facts["lines_without_customer"]) == (
        "2026-04-01", 11, 10, 1,
    )  # fmt: skip
    assert put_customers(shop, manifest.version, features, store, str) == 3
    anna = store.customer("shop", "anna")
    assert anna is not None
    assert (anna.features["bills"], anna.features["paid"], anna.features["home"]) == (4, 570.0, "Bern")
    assert anna.features["quiet"] == pytest.approx(25 + 14 / 24)
    assert anna.as_of == datetime(2026, 4, 30, 23, tzinfo=UTC)
    assert next(told(facts)).startswith("as of 2026-04-01; who left ordered nothing in the 30 days after it")


def test_a_day_may_be_given_if_there_is_a_past_and_a_future(
    lines: list[Line], write: Write, shop: Contract, features: FeatureStore
) -> None:
    path = write(lines)
    frame = features.read("shop", publish(path, shop, features, date(2026, 3, 1)).version)

    assert frame.set_index("customer_id")["churned"].to_dict() == {"anna": False, "bert": True}
    for day in (date(2026, 4, 2), date(2026, 1, 1)):
        with pytest.raises(DataError, match=r"expected a day after 2026-01-01 and until 2026-04-01"):
            publish(path, shop, features, day)


def test_a_cut_off_is_not_for_a_table_of_customers(write: Write, shop: Contract, features: FeatureStore) -> None:
    with pytest.raises(DataError, match="a cut-off is for transactions"):
        publish(write([], ["buyer", *shop.feature_names, "left"]), shop, features, date(2026, 3, 1))


def test_bad_lines_are_in_quarantine(lines: list[Line], write: Write, shop: Contract, features: FeatureStore) -> None:
    wrong = ("anna", "01.03.2026 10:00", "9", "a", "1", "five", "Bern")
    manifest = publish(write([*lines * 2, wrong]), shop, features)
    bad = features.quarantine("shop", manifest.version)

    assert (manifest.quarantined_rows, bad["line"].tolist()) == (1, [24])
    assert bad["reason"].tolist() == ["price='five': expected a number"]


def test_a_load_run_twice_stores_nothing_twice_and_lines_alike_are_all_kept(
    lines: list[Line], write: Write, shop: Contract, store: PredictionStore
) -> None:
    path = write([*lines, lines[0]])

    assert load(path, shop, store, str) == Saved(stored=11, repeated=0)
    assert load(path, shop, store, str) == Saved(stored=0, repeated=11)
    assert sorted(one.copy for one in store.transactions("shop", "anna") if one.invoice == "1") == [1, 1, 2]
    cancelled = [one for one in store.transactions("shop") if one.cancelled]
    assert cancelled == [
        Transaction("anna", datetime(2026, 1, 12, 9, tzinfo=UTC), "X2", "a", -1.0, 5.0, True, 1, {"town": "Basel"})
    ]


def test_a_load_cut_short_is_run_again(lines: list[Line], write: Write, shop: Contract, store: PredictionStore) -> None:
    """The store goes away in the middle of the second batch; what the first held is there."""
    path = write([(f"c{i:05}", "01.01.2026 10:00", str(i), "a", "1", "5", "Bern") for i in range(6_000)])
    names = iter(range(5_500))

    def until_it_breaks(customer: str) -> str:
        if next(names, None) is None:
            raise StoreUnavailable("the store went away")
        return customer

    with pytest.raises(StoreUnavailable):
        load(path, shop, store, until_it_breaks)

    assert store.count_transactions("shop") == 5_000
    assert load(path, shop, store, str) == Saved(stored=1_000, repeated=5_000)


def test_the_store_knows_pseudonyms_only(
    lines: list[Line], write: Write, shop: Contract, store: PredictionStore
) -> None:
    load(write(lines), shop, store, lambda customer: f"p-{customer}")

    assert {one.customer_id for one in store.transactions("shop")} == {"p-anna", "p-bert", "p-carl"}
    assert list(store.transactions("shop", "anna")) == []


def test_what_the_store_has_gathered_makes_the_same_features(
    lines: list[Line], write: Write, shop: Contract, features: FeatureStore, store: PredictionStore
) -> None:
    """Two files, the second overlapping the first, are as good as one; customers keep the ids that the store has."""
    whole = features.read("shop", publish(write(lines), shop, features).version)
    for part in (lines[:6], lines[4:]):
        load(write(part), shop, store, lambda customer: f"p-{customer}")

    manifest = ingest_stored(store, shop, features, NOW + timedelta(hours=1), "0a1b2c3e")
    gathered = features.read("shop", manifest.version)

    assert gathered["customer_id"].tolist() == ["p-anna", "p-bert"]
    pd.testing.assert_frame_equal(gathered.drop(columns="customer_id"), whole.drop(columns="customer_id"))
    assert (manifest.source, manifest.validation["transactions"]["lines"]) == ("transactions in the store", 10)
    assert put_customers(shop, manifest.version, features, store, lambda customer: f"p-{customer}") == 3
    assert store.customer("shop", "p-anna") is not None


def test_a_store_without_transactions_says_what_to_do(
    shop: Contract, features: FeatureStore, store: PredictionStore
) -> None:
    with pytest.raises(DataError, match="no transactions of shop; run 'python -m orchestration load --contract shop"):
        ingest_stored(store, shop, features, NOW, "0a1b2c3d")


@pytest.mark.integration
@pytest.mark.skipif(not (DATA / "online_retail.csv.gz").exists(), reason="the published file is not here")
def test_the_published_file_becomes_customers_and_segments(features: FeatureStore, store: PredictionStore) -> None:
    retail, path = load_contract("retail"), DATA / "online_retail.csv.gz"
    assert is_transactions(path, retail)

    manifest = publish(path, retail, features)
    facts, frame = manifest.validation["transactions"], features.read("retail", manifest.version)

    assert (facts["lines"], facts["lines_kept"], facts["lines_without_customer"], facts["lines_bad"]) == (
        541_909, 406_829, 135_080, 0,
    )  # fmt: skip
    assert (facts["cut_off"], facts["customers"], facts["lines_cancelled"]) == ("2011-09-11", 4_372, 8_905)
    assert (manifest.rows, manifest.churned_rows) == (3_368, 1_449)
    assert facts["segments"]["count"] == 4
    assert set(frame["rfm_segment"]) == {"best customers", "regulars", "newcomers", "lapsed"}
    left = frame.groupby("rfm_segment")["churned"].mean()
    assert left["best customers"] < 0.1 < 0.5 < left["lapsed"]
    assert put_customers(retail, manifest.version, features, store, str) == 4_334
    assert pd.Timestamp(manifest.newest_as_of) - pd.Timestamp(facts["cut_off"], tz="UTC") > timedelta(days=89)
