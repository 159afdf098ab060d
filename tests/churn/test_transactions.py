"""A contract over transactions: what it must say, and every problem of one that does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from churn.contract import load_contract, parse_contract
from churn.errors import ContractError
from churn.transactions import MEASURES, Measure
from tests.orchestration.transactions.conftest import contract_text

TEXT = (
    contract_text()
    + """
[features.group]
type = "category"
levels = ["near", "far"]
measure = "segment"

[[source.transactions.segments]]
name = "near"
lately = 1

[[source.transactions.segments]]
name = "far"
lately = -1
"""
)


def problems(old: str, new: str) -> str:
    assert old in TEXT
    with pytest.raises(ContractError) as caught:
        parse_contract(TEXT.replace(old, new, 1), source="shop.toml")
    return str(caught.value)


def test_columns_horizon_measures_and_segments_are_read() -> None:
    contract = parse_contract(TEXT)

    assert contract.transactions is not None
    assert contract.transactions.columns == ("at", "bill", "article", "pieces", "each")
    assert (contract.transactions.horizon_days, contract.transactions.ignored_items) == (30, ("POSTAGE",))
    assert [(one.name, one.lately, one.often) for one in contract.transactions.segments] == [
        ("near", 1.0, 0.0), ("far", -1.0, 0.0),
    ]  # fmt: skip
    assert contract.feature("bills_10").measure == Measure("orders", within_days=10)
    assert contract.feature("home").measure == Measure("most_frequent", column="town")


def test_a_contract_over_a_table_has_none() -> None:
    assert load_contract("telco").transactions is None


def test_the_shipped_contract_uses_measures_that_exist() -> None:
    used = {feature.measure.name for feature in load_contract("retail").features if feature.measure}

    assert used <= MEASURES.keys()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('measure = "orders"', 'measure = "bills"', "measure='bills': expected one of days_since_last, "),
        ('measure = "orders"\n', "", "source.transactions: with it each feature has a measure"),
        ('measure = "orders"\n\n', "within_days = 3\n", "within_days and column say what a measure is over"),
        ('column = "town"\n', "", "column: belongs to measure 'most_frequent', which needs one"),
        ('item = "article"', 'item = "bill"', "columns: 'bill' stands there twice"),
        ('time = "at"', 'tiem = "at"', "unknown key 'tiem'; did you mean 'time'?"),
        ("horizon_days = 30", "horizon_days = 0", "horizon_days=0: expected a number from 1"),
        ('levels = ["near", "far"]', 'levels = ["near", "beyond"]', "the levels of 'group' must be their names"),
        ('name = "far"\nlately = -1', 'name = "near"', "segments: 'near' stands there twice"),
    ],
)
def test_a_wrong_contract_names_what_is_wrong(old: str, new: str, said: str) -> None:
    assert said in problems(old, new)


def test_a_measure_without_transactions_is_told() -> None:
    start, end = TEXT.index("[source.transactions]"), TEXT.index("[features.quiet]")
    table = TEXT[:start] + TEXT[end : TEXT.index("[features.group]")]

    with pytest.raises(ContractError, match="with it each feature has a measure, without it none; see 'quiet'"):
        parse_contract(table, source="shop.toml")


def test_every_measure_is_in_the_documentation() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "transactions.md").read_text(encoding="utf-8")

    assert [f"| `{name}` | {words} |" for name, words in MEASURES.items()] == [
        line for line in page.splitlines() if line.startswith("| `")
    ]
