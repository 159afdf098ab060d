"""From a raw file to a version of features: what is kept, what is set aside and why, and what fails the whole file."""

from __future__ import annotations

import errno
import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import openpyxl
import pandas as pd
import pyarrow.parquet as pq
import pytest
from moto import mock_aws

from churn.contract import Contract, load_contract, parse_contract
from churn.encoder import Encoder, frame_records
from churn.errors import DataError, FolderUnusable
from churn.feature_store import FeatureStore, Manifest
from churn.store import open_store
from orchestration import source
from orchestration.expectations import Expectations, sentence
from orchestration.ingest import ingest, put_customers
from orchestration.rows import open_rows
from tests.fakes import DATA, random_customers
from tests.orchestration.conftest import raw_rows

Row = dict[str, Any]
WriteCsv = Callable[[Sequence[Row]], Path]
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
AGE = "a whole number from 18 to 120 (years)"


@pytest.fixture
def store() -> Iterator[FeatureStore]:
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test")
        yield FeatureStore("features-here", client)


def publish(path: Path, contract: Contract, store: FeatureStore, bad: float = 0.05) -> Manifest:
    return ingest(path, contract, store, NOW, "0a1b2c3d", bad)


def test_good_rows_come_out_by_the_contracts_names(
    rows: list[Row], write_csv: WriteCsv, credit_card: Contract, store: FeatureStore
) -> None:
    manifest = publish(write_csv(rows), credit_card, store)
    frame = store.read("credit_card", manifest.version)

    assert list(frame.columns) == ["customer_id", *credit_card.feature_names, "churned"]
    assert (manifest.rows, manifest.quarantined_rows, manifest.source) == (200, 0, "customers.csv")
    assert manifest.version == "20260131T120000Z-0a1b2c3d"
    assert frame["customer_id"].tolist() == [str(1000 + i) for i in range(200)]
    assert frame["churned"].sum() == manifest.churned_rows
    assert frame["churned"].dtype == bool
    unknown = sum(row["Education_Level"] == "Unknown" for row in rows)
    assert frame["education_level"].isna().sum() == unknown == manifest.validation["missing"]["education_level"]


def test_each_bad_row_is_set_aside_with_its_line_and_every_reason(
    rows: list[Row], write_csv: WriteCsv, credit_card: Contract, store: FeatureStore
) -> None:
    rows[0]["Customer_Age"] = "17"
    rows[1]["Customer_Age"] = "41.5"
    rows[2]["Customer_Age"] = "forty"
    rows[3]["Credit_Limit"] = ""
    rows[4]["Attrition_Flag"] = "Perhaps"
    rows[5]["CLIENTNUM"] = rows[6]["CLIENTNUM"]
    rows[7]["CLIENTNUM"] = ""
    rows[8] |= {"Credit_Limit": "-1", "Card_Category": "Unknown"}

    manifest = publish(write_csv(rows), credit_card, store)
    bad = store.quarantine("credit_card", manifest.version)

    assert dict(zip(bad["line"], bad["reason"], strict=True)) == {
        2: f"customer_age=17.0: expected {AGE}; it is required",
        3: f"customer_age=41.5: expected {AGE}; it is required",
        4: f"customer_age='forty': expected {AGE}",
        5: "credit_limit=None: expected a number from 0 to 10000000 (USD); it is required",
        6: "Attrition_Flag='Perhaps': expected 'Attrited Customer' or 'Existing Customer'",
        8: "CLIENTNUM='1006': expected text of 1 to 200 characters, each customer once",
        9: "CLIENTNUM=None: expected text of 1 to 200 characters, each customer once",
        10: (
            "card_category=None: expected one of 'Blue', 'Silver', 'Gold', 'Platinum', or their index 0 to 3; "
            "it is required; credit_limit=-1.0: expected a number from 0 to 10000000 (USD); it is required"
        ),
    }
    assert manifest.quarantined_rows == 8
    assert json.loads(bad["row"][2])["Customer_Age"] == "forty"


def test_a_repeated_id_is_found_across_chunks(
    rows: list[Row],
    write_csv: WriteCsv,
    credit_card: Contract,
    store: FeatureStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(source, "CHUNK_ROWS", 50)
    rows[150]["CLIENTNUM"] = rows[3]["CLIENTNUM"]

    manifest = publish(write_csv(rows), credit_card, store)

    assert store.quarantine("credit_card", manifest.version)["line"].tolist() == [152]


def test_lines_of_the_wrong_length_are_set_aside(
    rows: list[Row], write_csv: WriteCsv, credit_card: Contract, store: FeatureStore
) -> None:
    path = write_csv(rows)
    path.write_text(path.read_text() + "\n1,2,3\n")

    manifest = publish(path, credit_card, store)

    assert store.quarantine("credit_card", manifest.version)["reason"].tolist() == [
        "3 fields: expected 23 fields, as in the header"
    ]


def test_levels_are_taken_by_index_and_unknown_ones_are_counted(
    rows: list[Row], write_csv: WriteCsv, credit_card: Contract, store: FeatureStore
) -> None:
    rows[0]["Education_Level"] = "2"
    rows[1]["Marital_Status"] = "Complicated"

    manifest = publish(write_csv(rows), credit_card, store)
    frame = store.read("credit_card", manifest.version)

    assert frame["education_level"][0] == "College"
    assert frame["marital_status"][1] == "Complicated"
    assert manifest.validation["unknown"] == {"marital_status": 1}


def test_a_row_that_ingests_is_encoded_alike_from_the_table_and_from_its_record(
    rows: list[Row], write_csv: WriteCsv, credit_card: Contract, store: FeatureStore
) -> None:
    frame = store.read("credit_card", publish(write_csv(rows), credit_card, store).version)
    encoder = Encoder(credit_card)

    from_records = encoder.matrix([encoder.clean(one) for one in frame_records(frame, credit_card.feature_names)])
    assert encoder.encode_frame(frame).tobytes() == from_records.tobytes()


def test_too_many_bad_rows_fail_with_a_summary_and_write_nothing(
    rows: list[Row], write_csv: WriteCsv, credit_card: Contract, store: FeatureStore
) -> None:
    for row in rows[:20]:
        row["Customer_Age"] = "999"

    with pytest.raises(DataError, match=r"20 of 200 rows are bad, more than the 5% .*: 20 x customer_age: expected"):
        publish(write_csv(rows), credit_card, store)
    assert store.versions("credit_card") == []


def test_a_compressed_file_is_read(
    rows: list[Row], write_csv: WriteCsv, credit_card: Contract, store: FeatureStore, tmp_path: Path
) -> None:
    packed = tmp_path / "customers.csv.gz"
    packed.write_bytes(gzip.compress(write_csv(rows).read_bytes()))

    assert publish(packed, credit_card, store).rows == 200


def without(column: str) -> Callable[[list[Row]], object]:
    return lambda rows: [row.pop(column) for row in rows]


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (without("Attrition_Flag"), "no target column 'Attrition_Flag'"),
        (without("Gender"), "no column 'Gender', which contract credit_card names"),
        (without("CLIENTNUM"), "no column 'CLIENTNUM'"),
        (lambda rows: [row.update(Surprise=1) for row in rows], "the column 'Surprise' is unknown to contract"),
        (lambda rows: [row.update(Attrition_Flag="Existing Customer") for row in rows], "all 200 customers stayed"),
        (lambda rows: [row.update(Attrition_Flag="Attrited Customer") for row in rows], "all 200 customers left"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    rows: list[Row],
    write_csv: WriteCsv,
    credit_card: Contract,
    store: FeatureStore,
    spoil: Callable[[list[Row]], object],
    sentence: str,
) -> None:
    spoil(rows)

    with pytest.raises(DataError, match=sentence):
        publish(write_csv(rows), credit_card, store)
    assert store.versions("credit_card") == []


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "the file is empty"),
        (b"\n\n", "the file is empty"),
        (b"a;b;c\n1;2;3\n", "no target column 'Attrition_Flag'.*columns there: 'a', 'b', 'c'"),
        (b"a,a,b\n", "the column 'a' stands there twice"),
        (b"Attrition_Flag,\xff\n", "not UTF-8 text.*iconv -f WINDOWS-1252 -t UTF-8 file.csv"),
        (b"Attrition_Flag," + b"x" * 200_000 + b"\n", "not a CSV file"),
    ],
)
def test_a_file_that_is_no_table_is_refused(
    content: bytes, sentence: str, tmp_path: Path, credit_card: Contract, store: FeatureStore
) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(content)

    with pytest.raises(DataError, match=sentence):
        publish(path, credit_card, store)


def test_a_torn_compressed_file_is_refused(
    rows: list[Row], write_csv: WriteCsv, credit_card: Contract, store: FeatureStore, tmp_path: Path
) -> None:
    packed = tmp_path / "customers.csv.gz"
    packed.write_bytes(gzip.compress(write_csv(rows).read_bytes())[:-500])

    with pytest.raises(DataError, match=r"customers.csv.gz: cannot be read: .*end-of-stream"):
        publish(packed, credit_card, store)


def test_a_full_temporary_folder_is_told_from_a_bad_file(
    rows: list[Row],
    write_csv: WriteCsv,
    credit_card: Contract,
    store: FeatureStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)

    with pytest.raises(FolderUnusable, match="cannot be used: No space left on device"):
        publish(write_csv(rows), credit_card, store)
    assert store.versions("credit_card") == []


def test_a_header_without_rows_is_refused(
    rows: list[Row], write_csv: WriteCsv, credit_card: Contract, store: FeatureStore
) -> None:
    path = write_csv(rows)
    path.write_text(path.read_text().splitlines()[0] + "\n")

    with pytest.raises(DataError, match="a header and no rows"):
        publish(path, credit_card, store)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path, credit_card: Contract, store: FeatureStore) -> None:
    with pytest.raises(DataError, match="no such file"):
        publish(tmp_path / "absent.csv", credit_card, store)


def test_booleans_and_strict_levels(write_csv: WriteCsv, store: FeatureStore) -> None:
    contract = parse_contract(
        """
name = "shop"
title = "Shop"
[source]
id = "id"
[source.target]
column = "left"
positive = "1"
[features.member]
type = "boolean"
spellings = {Y = true, N = false}
[features.size]
type = "category"
levels = ["S", "L"]
strict = true
"""
    )
    texts = ["Y", "N", "True", "FALSE", "1", "0", "", "perhaps"]
    good: list[Row] = [{"id": i, "member": text, "size": "S", "left": i % 2} for i, text in enumerate(texts)]
    good.append({"id": 99, "member": "Y", "size": "XL", "left": 0})

    manifest = publish(write_csv(good), contract, store, bad=0.5)

    assert store.read("shop", manifest.version)["member"].tolist() == [True, False, True, False, True, False, None]
    assert store.quarantine("shop", manifest.version)["reason"].tolist() == [
        "member='perhaps': expected true or false",
        "size='XL': expected one of 'S', 'L'",
    ]


def test_customers_are_put_into_the_online_view(
    rows: list[Row], write_csv: WriteCsv, credit_card: Contract, store: FeatureStore, tmp_path: Path
) -> None:
    manifest = publish(write_csv(rows), credit_card, store)
    predictions = open_store(f"sqlite:///{tmp_path}/store.db")
    predictions.check()

    assert put_customers(credit_card, manifest.version, store, predictions, lambda one: f"pseudonym of {one}") == 200
    customer = predictions.customer("credit_card", "pseudonym of 1007")
    assert customer is not None
    assert customer.as_of == NOW
    assert customer.features["customer_age"] == rows[7]["Customer_Age"]
    predictions.close()


@pytest.mark.skipif(not (DATA / "BankChurners.csv").is_file(), reason="the published data set is not here")
def test_the_published_file_ingests_whole(credit_card: Contract, store: FeatureStore) -> None:
    manifest = publish(DATA / "BankChurners.csv", credit_card, store)

    assert (manifest.rows, manifest.churned_rows, manifest.quarantined_rows) == (10_127, 1_627, 0)
    assert manifest.validation["missing"] == {"education_level": 1519, "marital_status": 749, "income_category": 1112}


@pytest.mark.integration
@pytest.mark.skipif(not DATA.is_dir(), reason="the published data sets are not here")
def test_telco_means_what_its_file_says(store: FeatureStore) -> None:
    """The published file as counted by hand: blanks, seniors, customers without internet or a telephone."""
    manifest = publish(DATA / "WA_Fn-UseC_-Telco-Customer-Churn.csv", load_contract("telco"), store)
    frame = store.read("telco", manifest.version)

    assert (manifest.rows, manifest.churned_rows, manifest.quarantined_rows) == (7_043, 1_869, 0)
    assert (manifest.validation["missing"], manifest.validation["unknown"]) == ({"total_charges": 11}, {})
    assert set(frame.loc[frame["total_charges"].isna(), "tenure"]) == {0}
    assert frame["senior_citizen"].sum() == 1_142
    without_internet, without_phone = frame[frame["internet_service"] == "No"], frame[~frame["phone_service"]]
    assert (len(without_internet), len(without_phone)) == (1_526, 682)
    for name in ("online_security", "online_backup", "device_protection", "tech_support", "streaming_tv"):
        assert not without_internet[name].any()
    assert not without_phone["multiple_lines"].any()
    assert [(one["judged"], one["broken"]) for one in manifest.validation["warnings"]] == [
        (7_043, 0), (7_032, 0), (7_032, 13),
    ]  # fmt: skip


@pytest.mark.integration
@pytest.mark.skipif(not DATA.is_dir(), reason="the published data sets are not here")
def test_the_published_bank_file_ingests_whole(store: FeatureStore) -> None:
    manifest = publish(DATA / "Churn_Modelling.csv", load_contract("bank"), store)

    assert (manifest.rows, manifest.churned_rows, manifest.quarantined_rows) == (10_000, 2_037, 0)
    assert (manifest.validation["missing"], manifest.validation["unknown"]) == ({}, {})


def test_what_the_domain_expects_is_counted_and_told(tmp_path: Path) -> None:
    contract = load_contract("telco")
    frame = random_customers(contract, 40)
    frame = frame.assign(tenure=10, monthly_charges=20.0, total_charges=200.0)
    frame.loc[3, "total_charges"] = 500.0
    frame.loc[4, "total_charges"] = None
    frame.loc[5, "monthly_charges"] = -1.0
    expectations = Expectations(contract)
    expectations.look(frame, list(range(2, 42)))

    told = {one["says"]: one for one in expectations.told()}

    assert told["monthly charges are not negative"]["broken"] == 1
    about = told["total charges are about tenure times monthly charges"]
    assert (about["judged"], about["broken"], about["first_lines"]) == (39, 2, [5, 7])
    assert sentence(about).endswith(": 2 of 39 rows differ (5.13%), the first on line 5, 7")


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("Id;fee;note\na;1443,83;b, c\n", ["a", "1443.83", "b, c"]),
        ('Id;fee;note\na;-0,5;"d;e"\n', ["a", "-0.5", "d;e"]),
        ("Id\tfee\tnote\na\t1,5\tf\n", ["a", "1,5", "f"]),
        ("Id|fee|note\na|1.5|\n", ["a", "1.5", ""]),
        ("Id,fee,a;b\na,1.5,g;h\n", ["a", "1.5", "g;h"]),
    ],
)
def test_a_header_without_a_comma_says_what_separates_the_fields(tmp_path: Path, text: str, row: list[str]) -> None:
    path = tmp_path / "customers.csv"
    path.write_text(text)

    with open_rows(path) as rows:
        header, first = rows

    assert (header[0], len(header[1])) == (1, 3)
    assert first == (2, row)


@pytest.mark.parametrize("kind", ["xlsx", "parquet"])
def test_excel_and_parquet_are_read_as_a_csv_of_the_same_rows(tmp_path: Path, kind: str) -> None:
    table = pd.DataFrame(
        {"Id": ["a", "b"], "count": [1, 2], "share": [0.5, None], "whole": [3.0, None], "on": [True, False]}
    )
    path = tmp_path / f"customers.{kind}"
    table.to_excel(path, index=False) if kind == "xlsx" else table.to_parquet(path)

    with open_rows(path) as rows:
        found = list(rows)

    assert found == [
        (1, ["Id", "count", "share", "whole", "on"]),
        (2, ["a", "1", "0.5", "3", "true"]),
        (3, ["b", "2", "", "", "false"]),
    ]


@pytest.mark.parametrize("name", ["broken.xlsx", "broken.parquet", "old.xls"])
def test_a_table_that_is_none_is_refused_with_a_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"this is no table")

    with (
        pytest.raises(DataError, match=r"not an Excel file|not a Parquet file|Excel file of the old kind"),
        open_rows(tmp_path / name) as rows,
    ):
        list(rows)


def test_an_unlisted_level_where_one_is_required_is_taken_as_a_request_is(
    write_csv: WriteCsv, store: FeatureStore, tmp_path: Path
) -> None:
    bank = load_contract("bank")
    rows = [{name: "" if value == "Unknown" else value for name, value in row.items()} for row in raw_rows(bank, 60)]
    rows[3]["Geography"], rows[4]["Geography"] = " Portugal ", ""

    manifest = publish(write_csv(rows), bank, store)
    frame = store.read("bank", manifest.version)
    kept = frame[frame["country"] == "Portugal"]
    record = frame_records(kept, bank.feature_names)[0]
    request = Encoder(bank).clean(record)

    assert manifest.validation["unknown"] == {"country": 1}
    assert list(manifest.validation["reasons"]) == [
        "country: expected one of 'France', 'Germany', 'Spain'; it is required"
    ]
    assert (len(frame), request.unknown, request.features["country"]) == (59, ("country",), None)
    assert Encoder(bank).encode_frame(kept)[0].tobytes() == Encoder(bank).matrix([request])[0].tobytes()
    online = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    online.check()
    put_customers(bank, manifest.version, store, online, str)
    customer = online.customer("bank", str(rows[3]["CustomerId"]))
    online.close()
    assert customer is not None
    assert Encoder(bank).clean(customer.features) == request


def test_a_small_file_that_unpacks_to_one_huge_line_is_refused(
    tmp_path: Path, credit_card: Contract, store: FeatureStore
) -> None:
    bomb = tmp_path / "bomb.csv.gz"
    with gzip.open(bomb, "wb", compresslevel=9) as file:
        for _ in range(12):
            file.write(b"a" * 1_000_000)

    with pytest.raises(DataError, match=r"not a CSV file: a line of 10,000,000 characters or more"):
        publish(bomb, credit_card, store)
    assert bomb.stat().st_size < 30_000


def test_a_workbook_that_unpacks_to_more_than_memory_is_refused(
    tmp_path: Path, credit_card: Contract, store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestration.rows.LARGEST_WORKBOOK_BYTES", 1_000)
    book = openpyxl.Workbook()
    book.active.append(["a"] * 50)
    book.save(tmp_path / "bomb.xlsx")

    with pytest.raises(DataError, match=r"bytes once unpacked, more than 1,000"):
        publish(tmp_path / "bomb.xlsx", credit_card, store)
