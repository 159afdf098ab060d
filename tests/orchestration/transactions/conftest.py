"""A small shop: a contract over transactions with column names of its own, and files of its lines."""

from __future__ import annotations

import contextlib
import csv
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from churn.contract import Contract, parse_contract
from orchestration.transactions.ledger import Ledger
from orchestration.transactions.reading import Lines, open_ledger

HEADER = ["buyer", "at", "bill", "article", "pieces", "each", "town"]
CONTRACT = """
name = "shop"
title = "A shop"

[source]
id = "buyer"
missing = ["nobody"]

[source.target]
column = "left"
positive = "yes"
negative = "no"

[source.transactions]
time = "at"
time_format = "%d.%m.%Y %H:%M"
invoice = "bill"
item = "article"
quantity = "pieces"
price = "each"
cancelled_prefix = "X"
ignored_items = ["POSTAGE"]
horizon_days = 30
"""
FEATURES = {
    "quiet": ("number", "days_since_last", ""),
    "known": ("number", "days_since_first", ""),
    "bills": ("integer", "orders", ""),
    "bills_10": ("integer", "orders", "within_days = 10"),
    "paid": ("number", "spend", ""),
    "per_bill": ("number", "spend_per_order", ""),
    "biggest": ("number", "largest_order", ""),
    "newest_bill": ("number", "last_order", ""),
    "bill_spread": ("number", "order_deviation", ""),
    "days": ("integer", "order_days", ""),
    "pieces_a_bill": ("number", "items_per_order", ""),
    "basket": ("number", "lines_per_order", ""),
    "articles": ("integer", "different_items", ""),
    "a_piece": ("number", "price_per_item", ""),
    "gap": ("number", "gap_mean", ""),
    "gap_spread": ("number", "gap_deviation", ""),
    "gap_most": ("number", "gap_longest", ""),
    "gap_newest": ("number", "gap_last", ""),
    "late": ("number", "overdue", ""),
    "brought_back": ("integer", "returns", ""),
    "share_back": ("number", "returned_share", ""),
    "home": ("category", "most_frequent", 'column = "town"\nlevels = ["Bern", "Basel"]'),
}
Line = tuple[str, str, str, str, str, str, str]
Opened = Callable[..., AbstractContextManager[tuple[Ledger, Lines]]]


def contract_text() -> str:
    tables = [f'[features.{n}]\ntype = "{t}"\nmeasure = "{m}"\n{more}\n' for n, (t, m, more) in FEATURES.items()]
    return CONTRACT + "\n".join(tables)


@pytest.fixture(scope="session")
def shop() -> Contract:
    return parse_contract(contract_text())


@pytest.fixture
def lines() -> list[Line]:
    """Anna orders on three days before 1 April and once after it, Bert once; both see one bill of a hundred pieces."""
    return [
        ("anna", "01.01.2026 10:00", "1", "a", "2", "5", "Bern"),
        ("anna", "01.01.2026 10:00", "1", "b", "1", "10", "Bern"),
        ("anna", "11.01.2026 10:00", "2", "a", "4", "5", "Basel"),
        ("anna", "12.01.2026 09:00", "X2", "a", "-1", "5", "Basel"),
        ("nobody", "13.01.2026 09:00", "3", "a", "1", "5", "Bern"),
        ("bert", "01.02.2026 12:00", "4", "c", "1", "8", ""),
        ("bert", "01.02.2026 12:00", "4", "POSTAGE", "1", "3", ""),
        ("bert", "02.02.2026 12:00", "5", "gift", "1", "0", ""),
        ("anna", "26.03.2026 10:00", "6", "a", "6", "5", "Bern"),
        ("anna", "05.04.2026 10:00", "7", "a", "100", "5", "Bern"),
        ("carl", "30.04.2026 23:00", "8", "a", "1", "5", "Bern"),
    ]


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Sequence[Sequence[str]]], Path]:
    def written(lines: Sequence[Sequence[str]], header: Sequence[str] = HEADER) -> Path:
        path = tmp_path / "lines.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *lines])
        return path

    return written


@pytest.fixture
def opened(tmp_path: Path, shop: Contract, write: Callable[..., Path]) -> Opened:
    """A ledger of some lines."""

    @contextlib.contextmanager
    def ledger(lines: Sequence[Line], bad: float = 0.05) -> Iterator[tuple[Ledger, Lines]]:
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        with open_ledger(write(lines), shop, folder, bad) as filled:
            yield filled

    return ledger
