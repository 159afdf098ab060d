"""A raw file: opened, its header checked against a contract, its rows read as text in bounded chunks."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from churn.contract import LINE_AS_ID, Contract
from churn.errors import DataError, shown
from orchestration.rows import Row, open_rows
from orchestration.validation import CUSTOMER, TARGET

CHUNK_ROWS = 10_000


@dataclass(frozen=True)
class Chunk:
    """Rows as read. `texts` holds the contract's columns, customer_id and churned, indexed 0, 1, …; `lines` and
    `rows` are of the same rows, `broken` are lines of the wrong number of fields."""

    header: Sequence[str]
    lines: list[int]
    rows: list[list[str]]
    broken: list[tuple[int, list[str]]]
    texts: pd.DataFrame


@contextlib.contextmanager
def open_source(path: Path, contract: Contract) -> Iterator[Iterator[Chunk]]:
    """The file's chunks. CSV (plain or .gz, UTF-8), Excel or Parquet, with one header row. Raises DataError,
    also on the way."""
    with open_rows(path) as rows:
        yield _chunks(path, rows, contract)


def _chunks(path: Path, source: Iterator[Row], contract: Contract) -> Iterator[Chunk]:
    header = [name.strip() for name in next(source, (0, []))[1]]
    wanted = _match(path, header, contract)
    while True:
        lines, rows, broken = [], [], []
        for line, row in itertools.islice(source, CHUNK_ROWS):
            if len(row) == len(header):
                lines.append(line)
                rows.append(row)
            elif row:  # an empty line is no row
                broken.append((line, row))
        if not rows and not broken:
            return
        columns = list(zip(*rows, strict=True)) or [()] * len(header)
        texts = pd.DataFrame({name: pd.Series(columns[i], dtype=object) for name, i in wanted.items()})
        if CUSTOMER not in wanted:
            texts.insert(0, CUSTOMER, pd.Series([str(line) for line in lines], dtype=object))
        yield Chunk(header, lines, rows, broken, texts)


def _match(path: Path, header: list[str], contract: Contract) -> dict[str, int]:
    """Where each wanted column stands, by the contract's name for it."""
    if not any(header):
        raise DataError(f"{path}: the file is empty; expected a header row with the columns of {contract.name}")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(f"{path}: the column {shown(twice[0])} stands there twice; rename or remove one")
    if contract.target.column not in header:
        raise DataError(
            f"{path}: no target column '{contract.target.column}' (source.target.column of contract {contract.name}); "
            f"columns there: {_listed(header)}"
        )
    return _places(path, header, contract)


def _places(path: Path, header: list[str], contract: Contract) -> dict[str, int]:
    at = {name: i for i, name in enumerate(header)}
    sources = {**contract.raw_columns, TARGET: contract.target.column}
    if contract.id_column != LINE_AS_ID:
        sources = {CUSTOMER: contract.id_column, **sources}
    places = {name: at.get(raw, at.get(name)) for name, raw in sources.items()}
    absent = [sources[name] for name, place in places.items() if place is None]
    if absent:
        raise DataError(
            f"{path}: no column {_listed(absent)}, which contract {contract.name} names; "
            f"add it to the file or correct contracts/{contract.name}.toml"
        )
    known = {header[place] for place in places.values() if place is not None} | set(contract.drop)
    extra = [name for name in header if name not in known]
    if extra:
        raise DataError(
            f"{path}: the column {_listed(extra)} is unknown to contract {contract.name}; "
            f"add it as a feature, or to source.drop"
        )
    return {name: place for name, place in places.items() if place is not None}


def _listed(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(f"'{name}'" for name in names[:most]) + (f" and {len(names) - most} more" if names[most:] else "")
