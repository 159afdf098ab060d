"""The transactions that the store has gathered -> a ledger: every file that was ever loaded, together."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from churn.contract import Contract
from churn.errors import DataError
from churn.store.interface import PredictionStore
from churn.store.transactions import Transaction
from orchestration.transactions.ledger import Ledger
from orchestration.transactions.reading import CHUNK_ROWS, Lines, attributes

INSERT = "INSERT INTO lines BY NAME SELECT * FROM chunk"


@dataclass(frozen=True)
class Gathered:
    """A filled ledger, its counts, and a digest of the ids that were read."""

    ledger: Ledger
    lines: Lines
    sha256: str


@contextlib.contextmanager
def open_stored(store: PredictionStore, contract: Contract, folder: Path) -> Iterator[Gathered]:
    """All of a contract's transactions in the store, while open. Raises DataError where there are none."""
    with contextlib.closing(Ledger(folder / "ledger", attributes(contract))) as ledger:
        lines, digest = Lines(), hashlib.sha256()
        transactions = store.transactions(contract.name)
        while some := list(itertools.islice(transactions, CHUNK_ROWS)):
            ledger.run(INSERT, _table(some, lines.read, ledger.attributes))
            lines.read += len(some)
            for one in some:
                digest.update(bytes.fromhex(one.transaction_id))
        if not lines.read:
            raise DataError(
                f"the store holds no transactions of {contract.name}; "
                f"run 'python -m orchestration load --contract {contract.name} FILE' first"
            )
        yield Gathered(ledger, lines, digest.hexdigest())


def _table(some: Sequence[Transaction], before: int, names: Sequence[str]) -> pa.Table:
    columns: dict[str, Any] = {
        "line": pa.array(range(before + 1, before + 1 + len(some)), pa.int64()),
        "customer": [one.customer_id for one in some],
        "time": pa.array([one.time.replace(tzinfo=None) for one in some], pa.timestamp("us")),
        "invoice": [one.invoice for one in some],
        "item": [one.item for one in some],
        "quantity": pa.array([one.quantity for one in some], pa.float64()),
        "price": pa.array([one.price for one in some], pa.float64()),
        "cancelled": [one.cancelled for one in some],
    }
    for i, name in enumerate(names):
        columns[f"attribute_{i}"] = pa.array([one.attributes.get(name) for one in some], pa.string())
    return pa.table(columns)
