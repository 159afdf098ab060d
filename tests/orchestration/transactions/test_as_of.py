"""Customers as of a cut-off: each measure by hand, who left, and that no feature knows the future."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from churn.contract import Contract
from churn.errors import DataError
from orchestration.transactions.as_of import check_nothing_later, customers_as_of, stayed
from orchestration.transactions.ledger import Ledger
from orchestration.transactions.measures import EXPRESSIONS
from tests.orchestration.transactions.conftest import Line, Opened

CUT_OFF = datetime(2026, 4, 1)


def customers(ledger: Ledger, shop: Contract, cut_off: datetime = CUT_OFF, **measures: str) -> pd.DataFrame:
    assert shop.transactions is not None
    found = customers_as_of(ledger, shop, shop.transactions, cut_off, {**EXPRESSIONS, **measures})
    return found.rename(columns={f"feature_{i}": name for i, name in enumerate(shop.feature_names)})


def test_every_measure_is_what_it_says(opened: Opened, lines: list[Line], shop: Contract) -> None:
    with opened(lines) as (ledger, _):
        found = customers(ledger, shop).set_index("customer")
    anna, bert = found.loc["anna"], found.loc["bert"]

    assert list(found.index) == ["anna", "bert"]
    expected: dict[str, Any] = {
        "quiet": 5 + 14 / 24, "known": 89 + 14 / 24, "bills": 3, "bills_10": 1, "paid": 70, "per_bill": 70 / 3,
        "biggest": 30, "newest_bill": 30, "bill_spread": (100 / 3) ** 0.5, "days": 3, "pieces_a_bill": 13 / 3,
        "basket": 4 / 3, "articles": 2, "a_piece": 70 / 13, "gap": 42, "gap_spread": 2048**0.5, "gap_most": 74,
        "gap_newest": 74, "late": (5 + 14 / 24) / 42, "brought_back": 1, "share_back": 5 / 70, "home": "Bern",
    }  # fmt: skip
    assert {name: anna[name] for name in expected} == pytest.approx(expected)
    assert (bert["bills"], bert["bills_10"], bert["paid"], bert["days"]) == (1, 0, 8, 1)
    assert bert[["gap", "gap_spread", "gap_most", "gap_newest", "late", "bill_spread", "home"]].isna().all()


def test_who_orders_within_the_horizon_stays(opened: Opened, lines: list[Line], shop: Contract) -> None:
    assert shop.transactions is not None
    returned = ("bert", "10.04.2026 12:00", "X4", "c", "-1", "8", "")
    last = ("bert", "30.04.2026 23:59", "9", "c", "1", "8", "")
    late = ("bert", "01.05.2026 00:00", "9", "c", "1", "8", "")

    for more, expected in (([returned, late], {"anna", "carl"}), ([last], {"anna", "bert", "carl"})):
        with opened([*lines, *more]) as (ledger, _):
            assert stayed(ledger, shop.transactions, CUT_OFF) == expected


def test_what_comes_after_the_cut_off_changes_nothing(opened: Opened, lines: list[Line], shop: Contract) -> None:
    future = [line for line in lines if ".04." in line[1]]
    with opened([line for line in lines if line not in future]) as (ledger, _):
        without = customers(ledger, shop)
    with opened([*lines, *(("bert", "01.04.2026 00:00", f"F{i}", "z", "-9", "7", "Basel") for i in range(5))]) as (
        ledger,
        _,
    ):
        with_it = customers(ledger, shop)

    pd.testing.assert_frame_equal(without, with_it)


def test_the_check_passes_what_the_contract_measures(opened: Opened, lines: list[Line], shop: Contract) -> None:
    assert shop.transactions is not None
    with opened(lines) as (ledger, _):
        found = customers_as_of(ledger, shop, shop.transactions, CUT_OFF)
        check_nothing_later(ledger, shop, shop.transactions, CUT_OFF, found)


@pytest.mark.parametrize(
    "planted",
    [
        "(SELECT count(DISTINCT invoice) FROM lines WHERE lines.customer = customers.customer)",
        "(SELECT count(*) FROM lines WHERE lines.customer = customers.customer AND time < {cut_off} + INTERVAL 5 DAY)",
        "coalesce({w}.orders, 0) + (SELECT count(*) FROM lines WHERE time >= {cut_off} AND lines.customer = 'carl')",
    ],
    ids=["all time", "five days too many", "of another customer"],
)
def test_a_planted_leak_is_found_and_named(opened: Opened, lines: list[Line], shop: Contract, planted: str) -> None:
    assert shop.transactions is not None
    leaking = {**EXPRESSIONS, "orders": planted}
    with opened(lines) as (ledger, _):
        found = customers_as_of(ledger, shop, shop.transactions, CUT_OFF, leaking)
        with pytest.raises(DataError) as caught:
            check_nothing_later(ledger, shop, shop.transactions, CUT_OFF, found, leaking)

    assert "bills, bills_10: uses what happened after the cut-off 2026-04-01; a leak" in str(caught.value)


def test_the_check_leaves_the_ledger_as_it_was(opened: Opened, lines: list[Line], shop: Contract) -> None:
    with opened(lines) as (ledger, _):
        before = ledger.row("SELECT count(*) FROM lines")
        with ledger.only_before(CUT_OFF - timedelta(days=79)):
            past = ledger.row("SELECT count(*) FROM lines")

        assert (past, ledger.row("SELECT count(*) FROM lines")) == ((3,), before)
