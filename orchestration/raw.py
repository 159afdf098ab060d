"""What an ingest is made of: a file as it is, or tables made of transactions, in a file or in the store."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from churn.contract import Contract
from churn.errors import DataError
from churn.store.interface import PredictionStore
from orchestration.transactions.kind import is_transactions

if TYPE_CHECKING:
    from orchestration.transactions.ledger import Ledger
    from orchestration.transactions.reading import Lines

QUARANTINE_SCHEMA = pa.schema([("line", pa.int64()), ("reason", pa.string()), ("row", pa.string())])
REASONS_KEPT = 50
GATHERED = "transactions in the store"


@dataclass(frozen=True)
class Raw:
    """`table` holds the customers to learn from. Of transactions, these are as of a cut-off; `newest` then holds them
    as of `as_of`, and `bad_lines` what could not be read. `known_by_log`: by the ids that the log has."""

    name: str
    place: str
    sha256: Callable[[], str]
    table: Path
    newest: Path | None = None
    as_of: datetime | None = None
    bad_lines: Iterable[pa.Table] = ()
    bad_count: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)
    known_by_log: bool = False


@contextlib.contextmanager
def open_file(
    path: Path, contract: Contract, cut_off: date | None, maximum_bad_share: float, folder: Path
) -> Iterator[Raw]:
    """A file: a table of customers, or transactions that are made into one while this is open. Raises DataError."""
    if not is_transactions(path, contract):
        if cut_off is not None:
            raise DataError(f"{path}: a cut-off is for transactions; this is a table of customers")
        yield Raw(path.name, str(path), partial(file_sha256, path), path)
        return
    from orchestration.transactions.reading import open_ledger

    with open_ledger(path, contract, folder, maximum_bad_share) as (ledger, lines):
        raw = Raw(path.name, str(path), partial(file_sha256, path), path)
        yield _measured(raw, ledger, lines, contract, cut_off, folder)


@contextlib.contextmanager
def open_gathered(store: PredictionStore, contract: Contract, cut_off: date | None, folder: Path) -> Iterator[Raw]:
    """All transactions that the store has of a contract. Raises DataError or StoreUnavailable."""
    from orchestration.transactions.stored import open_stored

    with open_stored(store, contract, folder) as gathered:
        raw = Raw(GATHERED, GATHERED, lambda: gathered.sha256, folder, known_by_log=True)
        yield _measured(raw, gathered.ledger, gathered.lines, contract, cut_off, folder)


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _measured(raw: Raw, ledger: Ledger, lines: Lines, contract: Contract, cut_off: date | None, folder: Path) -> Raw:
    from orchestration.transactions.table import bad_lines, make_tables  # scikit-learn is slow to import

    tables = make_tables(ledger, lines, contract, folder, cut_off)
    facts = {"transactions": {**tables.facts, "reasons": dict(lines.reasons.most_common(REASONS_KEPT))}}
    return replace(
        raw,
        table=tables.learn,
        newest=tables.newest,
        as_of=tables.as_of,
        bad_lines=bad_lines(ledger, QUARANTINE_SCHEMA),
        bad_count=lines.bad,
        facts=facts,
    )
