"""Which kind of file this is, by its header: transactions, or a table of customers."""

from __future__ import annotations

from pathlib import Path

from churn.contract import Contract
from orchestration.rows import open_rows


def is_transactions(path: Path, contract: Contract) -> bool:
    """Whether a file holds a contract's transactions rather than a table of its customers. Raises DataError."""
    if contract.transactions is None:
        return False
    with open_rows(path) as rows:
        header = {name.strip() for name in next(rows, (0, []))[1]}
    return contract.target.column not in header and bool(header & set(contract.transactions.columns))
