"""A raw file of transactions -> a ledger: its header matched with the contract, its lines typed, bad ones set aside."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa

from churn.contract import Contract
from churn.errors import DataError, FieldProblem
from churn.transactions import MOST_FREQUENT, Transactions
from orchestration.rows import open_rows
from orchestration.transactions.ledger import MEMORY_MB, Ledger

CHUNK_ROWS = 2_000
Rows = Sequence[tuple[int, list[str]]]
"""Lines with their numbers."""
Bad = tuple[int, list[FieldProblem], list[str]]

REASONS_SHOWN = 5
ROLES = ("customer", "time", "invoice", "item", "quantity", "price")
SOUND = {
    "time": ("time IS NOT NULL", "a date and time"),
    "invoice": ("invoice <> ''", "an invoice's number"),
    "item": ("item <> ''", "an item's code"),
    "quantity": ("coalesce(isfinite(quantity), false)", "a number"),
    "price": ("coalesce(isfinite(price), false)", "a number"),
}
"""What a line's fields must be, as SQL and in words."""
TYPED = """
CREATE OR REPLACE TEMP TABLE typed AS
SELECT line, trim(customer) AS customer, trim(invoice) AS invoice, trim(item) AS item,
    coalesce(try_strptime(trim(time), $format), TRY_CAST(trim(time) AS TIMESTAMP)) AS time,
    TRY_CAST(trim(quantity) AS DOUBLE) AS quantity, TRY_CAST(trim(price) AS DOUBLE) AS price{attributes}
FROM chunk WHERE NOT list_contains($missing, trim(customer))
"""
KEPT = """
INSERT INTO lines
SELECT line, customer, time, invoice, item, quantity, price,
    coalesce(starts_with(invoice, $prefix), false) AS cancelled{attributes}
FROM typed WHERE {sound}
"""


@dataclass
class Lines:
    """What a file held: lines read, those without a customer (not kept: nobody can ask for them), and bad ones."""

    read: int = 0
    without_customer: int = 0
    bad: int = 0
    reasons: Counter[str] = field(default_factory=Counter)


@contextlib.contextmanager
def open_ledger(
    path: Path, contract: Contract, folder: Path, maximum_bad_share: float, memory_mb: int = MEMORY_MB
) -> Iterator[tuple[Ledger, Lines]]:
    """The file's lines, while open. Raises DataError for a file that cannot be used or holds too many bad lines."""
    with contextlib.closing(Ledger(folder / "ledger", attributes(contract), memory_mb)) as ledger:
        lines = fill(ledger, path, contract)
        if not lines.read:
            raise DataError(f"{path}: a header and no rows; nothing to ingest")
        if lines.bad > maximum_bad_share * lines.read:
            shown = "; ".join(f"{count} x {reason}" for reason, count in lines.reasons.most_common(REASONS_SHOWN))
            raise DataError(
                f"{path}: {lines.bad} of {lines.read} lines are bad, more than the {maximum_bad_share:.0%} that "
                f"MAXIMUM_BAD_SHARE allows: {shown}"
            )
        yield ledger, lines


def attributes(contract: Contract) -> tuple[str, ...]:
    """The further raw columns that features are made of."""
    measures = [feature.measure for feature in contract.features]
    return tuple(dict.fromkeys(one.column for one in measures if one and one.name == MOST_FREQUENT and one.column))


def fill(ledger: Ledger, path: Path, contract: Contract) -> Lines:
    """Read the file in chunks. Raises DataError, also on the way."""
    transactions, lines = contract.transactions, Lines()
    if transactions is None:
        raise DataError(f"{path}: contract {contract.name} has no [source.transactions]")
    with open_rows(path) as rows:
        header = [name.strip() for name in next(rows, (0, []))[1]]
        places = _places(path, header, contract, transactions)
        problem = FieldProblem("fields", 0, f"{len(header)} fields, as in the header")
        while chunk := [(line, row) for line, row in itertools.islice(rows, CHUNK_ROWS) if row]:
            lines.read += len(chunk)
            torn = [(line, row) for line, row in chunk if len(row) != len(header)]
            if torn:
                bad = [(line, [replace(problem, value=len(row))], row) for line, row in torn]
                _set_aside(ledger, bad, header, lines)
            _keep(ledger, [one for one in chunk if len(one[1]) == len(header)], header, places, contract, lines)
    return lines


def _places(path: Path, header: Sequence[str], contract: Contract, transactions: Transactions) -> dict[str, int]:
    raw = dict(zip(ROLES, (contract.id_column, *transactions.columns), strict=True))
    raw |= {f"attribute_{i}": name for i, name in enumerate(attributes(contract))}
    for name in raw.values():
        if name not in header:
            raise DataError(
                f"{path}: no column '{name}', which contract {contract.name} names; columns there: {', '.join(header)}"
            )
    extra = [name for name in header if name not in {*raw.values(), *contract.drop}]
    if extra:
        raise DataError(
            f"{path}: the column '{extra[0]}' is unknown to contract {contract.name}; add it to source.drop"
        )
    return {role: header.index(name) for role, name in raw.items()}


def _keep(
    ledger: Ledger, rows: Rows, header: Sequence[str], places: Mapping[str, int], contract: Contract, lines: Lines
) -> None:
    """Type a chunk's lines; those of customers go into the ledger, or among the bad ones with every reason."""
    transactions = contract.transactions
    columns = list(zip(*(row for _, row in rows), strict=True)) or [()] * len(header)
    texts = {role: pa.array(columns[place], pa.string()) for role, place in places.items()}
    chunk = pa.table({"line": pa.array([line for line, _ in rows], pa.int64()), **texts})
    further = [f"attribute_{i}" for i in range(len(ledger.attributes))]
    trimmed = "".join(f", nullif(trim({name}), '') AS {name}" for name in further)
    missing = sorted(contract.missing_spellings)
    time_format = transactions.time_format if transactions else None
    ledger.run(TYPED.format(attributes=trimmed), chunk, format=time_format, missing=missing)
    named = int(ledger.row("SELECT count(*) FROM typed")[0])
    lines.without_customer += len(rows) - named
    sound = " AND ".join(test for test, _ in SOUND.values())
    kept = KEPT.format(attributes="".join(f", {name}" for name in further), sound=sound)
    ledger.run(kept, prefix=transactions.cancelled_prefix if transactions else None)
    wrong = ", ".join(f"NOT ({test})" for test, _ in SOUND.values())
    found = ledger.rows(f"SELECT line, {wrong} FROM typed WHERE NOT ({sound}) ORDER BY line")  # noqa: S608 own text
    if found:
        by_line = dict(rows)
        _set_aside(ledger, [_reasons(line, flags, by_line[line], places) for line, *flags in found], header, lines)


def _reasons(line: int, flags: Sequence[bool], row: list[str], places: Mapping[str, int]) -> Bad:
    problems = [
        FieldProblem(role, row[places[role]], expected)
        for flag, (role, (_, expected)) in zip(flags, SOUND.items(), strict=True)
        if flag
    ]
    return line, problems, row


def _set_aside(ledger: Ledger, bad: Sequence[Bad], header: Sequence[str], lines: Lines) -> None:
    for _, problems, _ in bad:
        lines.reasons.update(f"{problem.field}: expected {problem.expected}" for problem in problems)
    lines.bad += len(bad)
    ledger.run(
        "INSERT INTO bad_lines SELECT line, reason, row FROM chunk",
        pa.table(
            {
                "line": pa.array([line for line, _, _ in bad], pa.int64()),
                "reason": ["; ".join(map(str, problems)) for _, problems, _ in bad],
                "row": [json.dumps(_named(row, header), ensure_ascii=False) for _, _, row in bad],
            }
        ),
    )


def _named(row: list[str], header: Sequence[str]) -> dict[str, str] | list[str]:
    return dict(zip(header, row, strict=True)) if len(row) == len(header) else row
