"""A file of transactions as read: what is kept, what is left out, what is set aside and why, and what fails it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from churn.contract import Contract, parse_contract
from churn.errors import DataError
from orchestration.transactions import reading
from orchestration.transactions.kind import is_transactions
from orchestration.transactions.reading import open_ledger
from tests.orchestration.transactions.conftest import HEADER, Line, Opened, contract_text

Write = Callable[..., Path]


def test_lines_of_customers_are_kept_and_those_of_nobody_counted(opened: Opened, lines: list[Line]) -> None:
    with opened([*lines, ("", "13.01.2026 09:00", "3", "a", "one", "5", "Bern")]) as (ledger, read):
        customers = ledger.rows("SELECT customer, count(*) FROM lines GROUP BY customer ORDER BY customer")
        cancelled = ledger.rows("SELECT invoice, quantity FROM lines WHERE cancelled")

    assert (read.read, read.without_customer, read.bad) == (12, 2, 0)
    assert customers == [("anna", 6), ("bert", 3), ("carl", 1)]
    assert cancelled == [("X2", -1.0)]


def test_a_line_that_cannot_be_read_is_set_aside_with_every_reason(
    opened: Opened, lines: list[Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "CHUNK_ROWS", 4)
    bad = ("anna", "31.02.2026 10:00", "9", "a", "two", "nan", "Bern")
    with opened([*lines, bad, ("anna", "torn")], bad=0.5) as (ledger, read):  # type: ignore[list-item]
        found = ledger.rows("SELECT line, reason, row FROM bad_lines ORDER BY line")

    assert (read.read, read.bad) == (13, 2)
    assert found[0][:2] == (
        13,
        "time='31.02.2026 10:00': expected a date and time; quantity='two': expected a number; "
        "price='nan': expected a number",
    )
    assert json.loads(found[0][2])["at"] == "31.02.2026 10:00"
    assert found[1] == (14, "fields=2: expected 7 fields, as in the header", '["anna", "torn"]')


def test_too_many_bad_lines_fail_the_file(opened: Opened, lines: list[Line]) -> None:
    with (
        pytest.raises(DataError, match=r"1 of 12 lines are bad, more than the 5% .* 1 x price: expected a number"),
        opened([*lines, ("anna", "01.03.2026 10:00", "9", "a", "1", "five", "Bern")]),
    ):
        pass


def test_a_table_with_times_of_its_own_is_read(write: Write, shop: Contract, tmp_path: Path) -> None:
    path = tmp_path / "lines.parquet"
    columns = [["anna"], ["2026-01-01T10:00:00"], [7], ["a"], [2.0], [5], ["Bern"]]
    pq.write_table(pa.table(dict(zip(HEADER, columns, strict=True))), path)

    with open_ledger(path, shop, tmp_path, 0.05) as (ledger, _):
        assert ledger.rows("SELECT customer, time::VARCHAR, invoice, quantity, price FROM lines") == [
            ("anna", "2026-01-01 10:00:00", "7", 2.0, 5.0)
        ]


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ([*HEADER[:-2], "price", "town"], "no column 'each', which contract shop names; columns there: buyer, at"),
        ([*HEADER[:-1], "town", "colour"], "the column 'colour' is unknown to contract shop; add it to source.drop"),
    ],
)
def test_another_header_is_told(write: Write, shop: Contract, tmp_path: Path, header: list[str], said: str) -> None:
    with pytest.raises(DataError, match=said), open_ledger(write([], header), shop, tmp_path, 0.05):
        pass


def test_a_format_of_time_that_is_none_is_told(write: Write, lines: list[Line], tmp_path: Path) -> None:
    wrong = parse_contract(contract_text().replace("%d.%m.%Y", "%Q"))

    with (
        pytest.raises(DataError, match=r"Unrecognized format .* correct time_format in the contract"),
        open_ledger(write(lines), wrong, tmp_path, 0.05),
    ):
        pass


def test_a_header_alone_is_nothing(write: Write, shop: Contract, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing to ingest"), open_ledger(write([]), shop, tmp_path, 0.05):
        pass


def test_the_header_tells_transactions_from_customers(write: Write, shop: Contract, credit_card: Contract) -> None:
    assert is_transactions(write([]), shop)
    assert not is_transactions(write([], ["buyer", "quiet", "left"]), shop)
    assert not is_transactions(write([]), credit_card)
