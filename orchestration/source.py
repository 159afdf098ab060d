"""A raw CSV file: opened, its header checked against a contract, its rows read as text in bounded chunks."""

from __future__ import annotations

import contextlib
import csv
import gzip
import itertools
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import pandas as pd

from churn.contract import Contract
from churn.errors import DataError, shown
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
    """The file's chunks. Plain or .gz, UTF-8, commas, one header row. Raises DataError, also on the way."""
    try:
        opened: Any = gzip.open if path.suffix == ".gz" else open
        file = opened(path, "rt", encoding="utf-8-sig", newline="")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; give the path of a CSV file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    with file:
        yield _guarded(path, _chunks(path, file, contract))


def _guarded(path: Path, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
    try:
        yield from chunks
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); convert it first") from error
    except csv.Error as error:
        raise DataError(f"{path}: not a CSV file: {error}") from error
    except (OSError, EOFError, zlib.error) as error:  # a torn or wrong .gz among them
        raise DataError(f"{path}: cannot be read: {error}") from error


def _chunks(path: Path, file: TextIO, contract: Contract) -> Iterator[Chunk]:
    reader = csv.reader(file)
    header = [name.strip() for name in next(reader, [])]
    wanted = _match(path, header, contract)
    while True:
        lines, rows, broken = [], [], []
        for row in itertools.islice(reader, CHUNK_ROWS):
            if len(row) == len(header):
                lines.append(reader.line_num)
                rows.append(row)
            elif row:  # an empty line is no row
                broken.append((reader.line_num, row))
        if not rows and not broken:
            return
        columns = list(zip(*rows, strict=True)) or [()] * len(header)
        texts = pd.DataFrame({name: pd.Series(columns[i], dtype=object) for name, i in wanted.items()})
        yield Chunk(header, lines, rows, broken, texts)


def _match(path: Path, header: list[str], contract: Contract) -> dict[str, int]:
    """Where each wanted column stands, by the contract's name for it."""
    if not any(header):
        raise DataError(f"{path}: the file is empty; expected a header row with the columns of {contract.name}")
    if len(header) == 1 and any(mark in header[0] for mark in ";\t|"):
        raise DataError(f"{path}: the header {shown(header[0])} holds no comma; expected fields separated by commas")
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
    sources = {CUSTOMER: contract.id_column, **contract.raw_columns, TARGET: contract.target.column}
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
