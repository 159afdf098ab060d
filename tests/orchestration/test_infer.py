"""A first contract from a file alone: every doubt is named, nothing doubtful slips in, and the result can be used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from churn.contract import Contract, load_contract
from churn.errors import DataError
from orchestration.__main__ import main
from orchestration.cleaning import Cleaner
from orchestration.infer.guess import Guess, guess
from orchestration.infer.levels import near_levels, same_levels
from orchestration.infer.table import read_table
from orchestration.source import open_source
from orchestration.validation import find_problems
from tests.fakes import DATA

ROWS = 600


def customers(rows: int = ROWS) -> pd.DataFrame:
    """A file with every trap: each column is named after its own."""
    random = np.random.default_rng(0)
    left = random.random(rows) < 0.3
    spend, visits = np.round(random.gamma(2, 50, rows), 2), random.integers(0, 30, rows)
    return pd.DataFrame(
        {
            "": range(rows),
            "Customer  Ref": [f"C{i:05d}" for i in random.permutation(rows)],
            "Token": [f"{i:x}-{i * 7:x}" for i in random.permutation(rows)],
            "Joined": pd.date_range("2024-01-01", periods=rows, freq="h").astype(str),
            "Spend": spend,
            "Visits": visits,
            "Spend and visits": np.round(spend + visits, 2),
            "Payment": random.choice(["CC", "Credit Card", "credit card", "UPI", "UPI Lite"], rows),
            "Payment again": "",
            "Score": np.where(random.random(rows) < 0.02, "n/k", random.integers(0, 9, rows).astype(str)),
            "Land": "DE",
            "Zip": [f"{code:05d}" for code in random.integers(100, 105, rows)],
            "City": [f"City {number}" for number in random.zipf(1.6, rows)],
            "Farewell": np.where(left, "sent", "none"),
            "Hints": np.where(left & (random.random(rows) < 0.85), 1, 0),
            "Newsletter": random.choice(["Y", "N"], rows),
            "Discount": [f"{share}%" for share in random.integers(0, 90, rows)],
            "Gender": random.choice(["male", "female", "Unknown"], rows),
            "Left?": np.where(left, "Yes", "No"),
        }
    ).assign(**{"Payment again": lambda frame: frame["Payment"].str.upper() + "!"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("infer")
    customers().to_csv(folder / "gym.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def guessed(folder: Path) -> Guess:
    return guess(read_table(folder / "gym.csv"), "Left?", None)


@pytest.fixture(scope="module")
def contract(folder: Path) -> Contract:
    out = folder / "gym.toml"
    assert main(["contract", "infer", str(folder / "gym.csv"), "--target", "Left?", "--out", str(out)]) == 0
    return load_contract(out)


def notes(guessed: Guess, name: str) -> str:
    return " ".join(next(kept for kept in guessed.features if kept.name == name).notes)


def test_what_must_not_be_a_feature_is_left_out_with_its_reason(guessed: Guess) -> None:
    reasons = dict(guessed.dropped)

    assert reasons[""] == "the row's number"
    assert reasons["Joined"].startswith("dates")
    assert reasons["Land"] == "constant: 'DE' in every row"
    assert reasons["Token"].startswith(("high cardinality", "looks like an id"))
    assert reasons["Spend and visits"] == "exactly 'Spend' + 'Visits' in every row"
    assert reasons["Farewell"].startswith("LEAK? It tells leavers from stayers with AUC 1.000")
    assert reasons["Discount"].startswith("numbers with currency signs, per cent")
    assert set(reasons) == {"", "Joined", "Land", "Token", "Spend and visits", "Farewell", "Discount"}


def test_the_id_the_target_and_the_missing_are_found(guessed: Guess) -> None:
    assert guessed.id_column == "Customer  Ref"
    assert (guessed.positive, guessed.negative) == ("Yes", "No")
    assert guessed.missing == {"n/k": ["Score"], "Unknown": ["Gender"]}
    assert guessed.notes == ["Names with double blanks: 'Customer  Ref'."]


def test_doubts_stand_beside_what_they_are_about(guessed: Guess) -> None:
    assert "mixed types. Beside numbers it holds 'n/k'" in notes(guessed, "score")
    assert "if they are codes, make it a category" in notes(guessed, "score")
    assert "'CC' is taken for" in notes(guessed, "payment")
    assert "Are 'UPI' and 'UPI Lite' one level?" in notes(guessed, "payment")
    assert "leading zeros" in notes(guessed, "zip")
    assert "high cardinality" in notes(guessed, "city")
    assert "by itself. If it is only known after they left, it is a leak" in notes(guessed, "hints")


def test_the_contract_reads_its_own_file_without_a_bad_row(contract: Contract, folder: Path) -> None:
    cleaner = Cleaner(contract)
    with open_source(folder / "gym.csv", contract) as chunks:
        cleaned = [cleaner.clean(chunk.texts) for chunk in chunks]

    assert sum(len(one.frame) for one in cleaned) == ROWS
    for one in cleaned:
        assert one.problems == {}
        assert find_problems(one.frame, contract, lambda _: False) == {}
    assert contract.feature("newsletter").type == "boolean"
    assert contract.feature("zip").type == "category"
    assert contract.feature("spend").required


def test_a_file_that_exists_is_not_overwritten(contract: Contract, folder: Path, capsys: pytest.CaptureFixture) -> None:
    out = folder / "gym.toml"

    assert main(["contract", "infer", str(folder / "gym.csv"), "--target", "Left?", "--out", str(out)]) == 1
    assert "exists; choose another --out, or write over it by --force" in capsys.readouterr().err


def test_a_target_that_cannot_be_one_is_refused_with_what_there_is(folder: Path) -> None:
    table = read_table(folder / "gym.csv")

    with pytest.raises(DataError, match=r"no column 'Gone'; columns there: '', 'Customer  Ref'"):
        guess(table, "Gone", None)
    with pytest.raises(DataError, match="say who left by --positive VALUE"):
        guess(table, "Payment", None)
    with pytest.raises(DataError, match="never holds 'maybe'; it holds 'No'"):
        guess(table, "Left?", "maybe")
    with pytest.raises(DataError, match="has one value only"):
        guess(table, "Land", None)


def test_rows_without_an_id_are_known_by_their_line(tmp_path: Path) -> None:
    path = tmp_path / "noid.csv"
    customers()[["Spend", "Visits", "Left?"]].to_csv(path, index=False)
    out = tmp_path / "noid.toml"
    assert main(["contract", "infer", str(path), "--target", "Left?", "--out", str(out)]) == 0

    with open_source(path, load_contract(out)) as chunks:
        assert list(next(chunks).texts["customer_id"][:2]) == ["2", "3"]


def test_repeated_rows_and_ids_are_told(tmp_path: Path) -> None:
    frame = customers()[["Customer  Ref", "Spend", "Left?"]]
    path = tmp_path / "twice.csv"
    pd.concat([frame, frame.head(5)]).to_csv(path, index=False)
    found = guess(read_table(path), "Left?", None)

    assert found.id_column == "Customer  Ref"
    assert found.id_notes[0].startswith("DOUBT: 5 rows repeat an id or have none")
    assert any("rows repeat an earlier row in all columns but the id" in note for note in found.notes)


@pytest.mark.parametrize("kind", ["xlsx", "parquet"])
def test_excel_and_parquet_give_the_same_contract(folder: Path, guessed: Guess, kind: str, tmp_path: Path) -> None:
    frame = customers()[["Customer  Ref", "Spend", "Visits", "Payment", "Left?"]]
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_excel(tmp_path / "t.xlsx", index=False) if kind == "xlsx" else frame.to_parquet(tmp_path / "t.parquet")

    found, wanted = (guess(read_table(tmp_path / f"t.{one}"), "Left?", None) for one in (kind, "csv"))

    assert [(kept.name, kept.entries) for kept in found.features] == [(k.name, k.entries) for k in wanted.features]


def test_spellings_of_one_level_are_found_and_others_left_alone() -> None:
    levels = {"Credit Card": 50, "CC": 9, "credit  card": 3, "Month-to-month": 9, "Month to month": 1, "<5": 3, ">5": 4}
    same = {one.spelling: one.level for one in same_levels(levels)}

    assert same == {"CC": "Credit Card", "credit  card": "Credit Card", "Month to month": "Month-to-month"}
    assert near_levels({"Phone": 1, "Mobile Phone": 1, "Laptop": 1}, set()) == [("Phone", "Mobile Phone")]
    assert near_levels({"Male": 1, "Female": 1, "1-2 years": 1, "2-3 years": 1}, set()) == []


@pytest.mark.parametrize(
    ("file", "target", "left_out"),
    [
        ("BankChurners.csv", "Attrition_Flag", 3),
        ("WA_Fn-UseC_-Telco-Customer-Churn.csv", "Churn", 0),
        ("Churn_Modelling.csv", "Exited", 2),
    ],
)
@pytest.mark.skipif(not DATA.is_dir(), reason="the published data sets are not on this machine")
def test_published_data_sets_are_understood(file: str, target: str, left_out: int) -> None:
    found = guess(read_table(DATA / file), target, None)

    assert len(found.dropped) == left_out
    assert found.id_column.lower() in ("clientnum", "customerid")


def test_a_number_of_customers_that_comes_twice_is_an_id_all_the_same(tmp_path: Path) -> None:
    frame = customers()[["Customer  Ref", "Spend", "Left?"]]
    frame = frame.assign(**{"Customer  Ref": range(100, 100 + len(frame))}).rename(
        columns={"Customer  Ref": "Kunden-Nr"}
    )
    path = tmp_path / "numbers.csv"
    pd.concat([frame, frame.head(1)]).to_csv(path, index=False)

    assert guess(read_table(path), "Left?", None).id_column == "Kunden-Nr"
