"""A file of transactions -> tables of customers that an ingest reads: one to learn from, one for callers by id."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Set
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from churn.contract import Contract
from churn.errors import DataError
from churn.transactions import SEGMENT, Transactions
from orchestration.transactions.as_of import CUSTOMER, check_nothing_later, customers_as_of, stayed
from orchestration.transactions.ledger import Ledger
from orchestration.transactions.reading import Lines
from orchestration.transactions.segments import Segments, fit_segments

BAD_LINES_A_PART = 5_000


@dataclass(frozen=True)
class Tables:
    """`learn` holds customers as of the cut-off and who left; `newest` all of them as of `as_of`, the file's end.

    Both are Parquet in the contract's raw columns. `facts` is what a manifest keeps of how they came about.
    """

    learn: Path
    newest: Path
    as_of: datetime
    facts: dict[str, Any]


def make_tables(ledger: Ledger, lines: Lines, contract: Contract, folder: Path, day: date | None) -> Tables:
    """Measure the customers of a filled ledger. `day` is the cut-off: the last that its horizon allows, unless given.

    Raises DataError, also for a cut-off that leaves nothing to learn from and for a feature that knows the future.
    """
    transactions = contract.transactions
    if transactions is None:
        raise DataError(f"contract {contract.name} has no [source.transactions]")
    first, last = ledger.row("SELECT min(time), max(time) FROM lines")
    if last is None:
        raise DataError(f"no line of a customer among {lines.read:,} transactions; nothing to ingest")
    end = datetime.combine(last.date() + timedelta(days=1), time())
    latest = end - timedelta(days=transactions.horizon_days)
    cut_off = latest if day is None else datetime.combine(day, time())
    _check_cut_off(cut_off, first, end, transactions)

    customers = customers_as_of(ledger, contract, transactions, cut_off)
    check_nothing_later(ledger, contract, transactions, cut_off, customers)
    segments = fit_segments(customers, transactions.segments) if transactions.segments else None
    learn, newest = folder / "raw_learn.parquet", folder / "raw_newest.parquet"
    _write(learn, customers, contract, segments, stayed(ledger, transactions, cut_off))
    everyone = customers_as_of(ledger, contract, transactions, end)
    _write(newest, everyone, contract, segments, set(everyone[CUSTOMER]))
    facts = _facts(ledger, lines, transactions, cut_off, end)
    if segments is not None:
        facts["segments"] = segments.told(customers)
    return Tables(learn, newest, last.replace(tzinfo=UTC), facts)


def bad_lines(ledger: Ledger, schema: pa.Schema) -> Iterator[pa.Table]:
    """The lines that were set aside, in the order of the file, in parts."""
    rows = ledger.stream("SELECT line, reason, row FROM bad_lines ORDER BY line")
    while some := list(itertools.islice(rows, BAD_LINES_A_PART)):
        yield pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in some], schema=schema)


def _check_cut_off(cut_off: datetime, first: datetime, end: datetime, transactions: Transactions) -> None:
    latest = end - timedelta(days=transactions.horizon_days)
    if not first < cut_off <= latest:
        known = f"from {first:%Y-%m-%d} to {end - timedelta(days=1):%Y-%m-%d}"
        raise DataError(
            f"the cut-off {cut_off:%Y-%m-%d}: expected a day after {first:%Y-%m-%d} and until {latest:%Y-%m-%d}; the "
            f"transactions are {known}, and who left is known {transactions.horizon_days} days after a cut-off"
        )


def _write(path: Path, customers: pd.DataFrame, contract: Contract, segments: Segments | None, kept: Set[str]) -> None:
    """Customers as a file of the contract's source would hold them."""
    target = contract.target
    stays = target.negative or target.negative_label
    columns: dict[str, Any] = {contract.id_column: customers[CUSTOMER]}
    for i, feature in enumerate(contract.features):
        if feature.measure is not None and feature.measure.name == SEGMENT:
            values: Any = segments.of(customers) if segments else None
        else:
            values = customers[f"feature_{i}"]
        columns[contract.raw_columns[feature.name]] = values
    left = [stays if customer in kept else target.positive for customer in customers[CUSTOMER]]
    pd.DataFrame({**columns, target.column: left}).to_parquet(path, index=False)


def _facts(
    ledger: Ledger, lines: Lines, transactions: Transactions, cut_off: datetime, end: datetime
) -> dict[str, Any]:
    kept, customers, cancelled, after = ledger.row(
        "SELECT count(*), count(DISTINCT customer), count(*) FILTER (WHERE cancelled), "  # noqa: S608 own text
        f"count(*) FILTER (WHERE time >= TIMESTAMP '{cut_off:%Y-%m-%d}') FROM lines"
    )
    return {
        "cut_off": f"{cut_off:%Y-%m-%d}",
        "end": f"{end:%Y-%m-%d}",
        "horizon_days": transactions.horizon_days,
        "lines": lines.read,
        "lines_kept": kept,
        "lines_without_customer": lines.without_customer,
        "lines_bad": lines.bad,
        "lines_cancelled": cancelled,
        "lines_after_cut_off": after,
        "customers": customers,
    }
