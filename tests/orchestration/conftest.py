"""Raw files as a source would send them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from churn.contract import Contract
from tests.fakes import random_customers, records

Row = dict[str, Any]
WriteCsv = Callable[[Sequence[Row]], Path]


def raw_rows(contract: Contract, count: int, seed: int = 0) -> list[Row]:
    """Customers in the raw source's words: its column names, its spelling of missing, the columns to drop as well."""
    frame = random_customers(contract, count, seed)
    target = contract.target
    rows = []
    for number, (record, churned) in enumerate(zip(records(frame, contract), frame["churned"], strict=True)):
        rows.append(
            {
                contract.id_column: 1000 + number,
                **{contract.raw_columns[k]: "Unknown" if v is None else v for k, v in record.items()},
                target.column: target.positive if churned else target.negative,
                **dict.fromkeys(contract.drop, "1"),
            }
        )
    return rows


@pytest.fixture
def rows(credit_card: Contract) -> list[Row]:
    """Two hundred good customers; alter at will."""
    return raw_rows(credit_card, 200)


@pytest.fixture
def write_csv(tmp_path: Path) -> WriteCsv:
    def write(rows: Sequence[Row]) -> Path:
        path = tmp_path / "customers.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return path

    return write
