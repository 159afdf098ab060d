"""A file of transactions -> the store: in chunks, under bounded memory, the same however often it is run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC
from pathlib import Path

from churn.contract import Contract
from churn.store.interface import PredictionStore, Saved
from churn.store.transactions import Transaction
from orchestration.transactions.ledger import MEMORY_TO_READ_MB, Ledger
from orchestration.transactions.reading import open_ledger

LINES = """
SELECT customer, time, invoice, item, quantity, price, cancelled,
    row_number() OVER (PARTITION BY customer, time, invoice, item, quantity, price ORDER BY line) AS copy{attributes}
FROM lines ORDER BY customer, time, invoice, line
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
    """Customer by customer, so that each needs one pseudonym."""
    known, name = None, ""
    lines = LINES.format(attributes="".join(f", attribute_{i}" for i in range(len(ledger.attributes))))
    for customer, time, invoice, item, quantity, price, cancelled, copy, *values in ledger.stream(lines):
        if customer != known:
            known, name = customer, pseudonym(customer)
        attributes = {raw: value for raw, value in zip(ledger.attributes, values, strict=True) if value is not None}
        at = time.replace(tzinfo=UTC)
        yield Transaction(name, at, invoice, item, quantity, price, cancelled, copy, attributes)
