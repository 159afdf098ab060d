"""A whole file as columns of text, compactly: each distinct text once, a number a row."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from churn.errors import DataError, shown
from orchestration.infer.column import Column, Flags
from orchestration.rows import Row, open_rows

BATCH_ROWS = 20_000
TABLE_SUM_SEED = 20_240_001


@dataclass
class Table:
    """`broken` counts rows of another number of fields than the header; they are in no column."""

    source: str
    columns: list[Column]
    rows: int
    broken: int

    def column(self, name: str) -> Column:
        """Raises DataError, naming those there are."""
        for column in self.columns:
            if column.name == name:
                return column
        listed = ", ".join(f"'{column.name}'" for column in self.columns)
        raise DataError(f"{self.source}: no column '{name}'; columns there: {listed}")


def read_table(path: Path) -> Table:
    """Raises DataError for a file that cannot be read, has no rows, or names a column twice."""
    with open_rows(path) as rows:
        header = [name.strip() for name in next(rows, (0, []))[1]]
        _check_header(path, header)
        batches, count, broken = _batches(rows, len(header))
    if not count:
        raise DataError(f"{path}: a header and no rows; nothing to infer from")
    columns = [_column(name, [batch[i] for batch in batches]) for i, name in enumerate(header)]
    return Table(path.name, columns, count, broken)


def repeated_rows(columns: Sequence[Column]) -> int:
    """Rows that repeat an earlier one in all of these columns (told by a 64-bit sum of random numbers)."""
    if not columns:
        return 0
    random = np.random.default_rng(TABLE_SUM_SEED)
    sums = np.zeros(columns[0].rows, dtype=np.uint64)
    for column in columns:
        sums += random.integers(0, 2**64, size=len(column.texts), dtype=np.uint64)[column.codes]
    return len(sums) - len(np.unique(sums))


def same_partition(columns: Sequence[Column]) -> Iterator[tuple[Column, Column]]:
    """Columns (not unique ones) that say the same as an earlier one, perhaps in other words: (earlier, later)."""
    seen: dict[int, list[Column]] = {}
    for column in columns:
        if not 1 < len(column.texts) < column.rows:
            continue
        alike = seen.setdefault(len(column.texts), [])
        earlier = next((one for one in alike if np.array_equal(one.codes, column.codes)), None)
        if earlier is None:
            alike.append(column)
        else:
            yield earlier, column


def is_row_number(column: Column) -> bool:
    """0, 1, 2, … or 1, 2, 3, … from the first row to the last."""
    if not column.is_unique or not column.is_whole or column.rows < 2:
        return False
    values = column.values
    return bool(values[0] in (0, 1) and np.all(np.diff(values) == 1))


def rows_where(column: Column, text: str) -> Flags:
    """The rows that hold this text."""
    found = column.texts.index(text).as_py()
    return np.asarray(column.codes == found, dtype=np.bool_)


def _check_header(path: Path, header: list[str]) -> None:
    if not any(header):
        raise DataError(f"{path}: the file is empty; expected a header row")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(f"{path}: the column {shown(twice[0])} stands there twice; rename or remove one")


def _batches(rows: Iterator[Row], width: int) -> tuple[list[list[pa.Array]], int, int]:
    batches, count, broken = [], 0, 0
    while some := list(itertools.islice(rows, BATCH_ROWS)):
        whole = [row for _, row in some if len(row) == width]
        broken += sum(len(row) != width and bool(row) for _, row in some)
        count += len(whole)
        if whole:
            batches.append([pa.array(texts, pa.string()) for texts in zip(*whole, strict=True)])
    return batches, count, broken


def _column(name: str, parts: list[pa.Array]) -> Column:
    trimmed = pc.utf8_trim_whitespace(pa.chunked_array(parts))
    encoded = trimmed.combine_chunks().dictionary_encode()
    return Column(name, encoded.dictionary, np.asarray(encoded.indices.to_numpy(), dtype=np.int32))
