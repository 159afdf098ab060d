"""A file of transactions -> the store: in chunks, under bounded memory, the same however often it is run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC
from pathlib import Path
from typing import Any

from churn.contract import Contract
from churn.store.interface import PredictionStore, Saved
from churn.store.transactions import Transaction
from orchestration.transactions.ledger import MEMORY_TO_READ_MB, Ledger
from orchestration.transactions.reading import open_ledger

LINES = """
SELECT customer, time, invoice, item, quantity, price, cancelled{attributes}
FROM lines ORDER BY customer, time, invoice, item, quantity, price{attributes}
"""


def load(
    path: Path,
    contract: Contract,
    store: PredictionStore,
    pseudonym: Callable[[str], str],
    maximum_bad_share: float = 0.05,
) -> Saved:
    """Put a file's transactions into the store, which knows customers by their `pseudonym`.

    Raises DataError or StoreUnavailable; after either, run it again: what is stored already is not stored twice.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        open_ledger(path, contract, Path(folder), maximum_bad_share, MEMORY_TO_READ_MB) as (ledger, _),
    ):
        return store.put_transactions(contract.name, _transactions(ledger, pseudonym))


def _transactions(ledger: Ledger, pseudonym: Callable[[str], str]) -> Iterator[Transaction]:
    """Customer by customer, so that each needs one pseudonym, and lines that are alike one after the other."""
    further = "".join(f", attribute_{i}" for i in range(len(ledger.attributes)))
    known, name, before, copy = None, "", None, 0
    for customer, *line, cancelled, values in _split(ledger.stream(LINES.format(attributes=further))):
        if customer != known:
            known, name = customer, pseudonym(customer)
        copy = copy + 1 if (customer, line) == before else 1
        before = (customer, line)
        time, invoice, item, quantity, price = line
        attributes = {raw: value for raw, value in zip(ledger.attributes, values, strict=True) if value is not None}
        at = time.replace(tzinfo=UTC)
        yield Transaction(name, at, invoice, item, quantity, price, cancelled, copy, attributes)


def _split(rows: Iterator[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """Rows with their attributes as one last value."""
    return ((*row[:7], row[7:]) for row in rows)
