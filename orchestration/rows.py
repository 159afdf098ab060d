"""Rows of text out of a file of any kind we read: CSV (plain or .gz), Excel, Parquet. One row at a time.

A CSV whose header holds no comma may be separated by semicolons, tabs or bars; with semicolons a number may have a
decimal comma, as spreadsheets write both in much of Europe.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import itertools
import re
import zipfile
import zlib
from collections.abc import Generator, Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any, TextIO

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq

from churn.errors import DataError

Row = tuple[int, list[str]]
"""The line a row ends on (its number in a table, the header being 1), and its fields; an empty cell is ''."""

BATCH_ROWS = 10_000
SEPARATORS = ";\t|"
DECIMAL_COMMA = re.compile(r"\s*[+-]?\d+,\d+\s*")
LONGEST_LINE = 10_000_000
LARGEST_WORKBOOK_BYTES = 2_000_000_000
"""A ZIP of a few kilobytes may hold far more than memory does."""
EXCEL, PARQUET = (".xlsx", ".xlsm"), (".parquet", ".pq")


@contextlib.contextmanager
def open_rows(path: Path) -> Iterator[Iterator[Row]]:
    """The header, then the rows. Raises DataError, also on the way."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; give the path of a CSV, Excel or Parquet file")
    suffix = path.suffix.lower()
    if suffix == ".xls":
        raise DataError(f"{path}: an Excel file of the old kind; save it as .xlsx or .csv")
    read = _excel if suffix in EXCEL else _parquet if suffix in PARQUET else _csv
    with contextlib.closing(_guarded(path, read(path))) as rows:
        yield rows


def as_text(value: Any) -> str:
    """A cell of a table as a CSV file would write it."""
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))  # Excel and pandas keep whole numbers as floats, where one of the column was empty
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(value)


def _guarded(path: Path, rows: Iterator[Row]) -> Generator[Row, None, None]:
    try:
        yield from rows
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); convert it first, "
            f"such as by: iconv -f WINDOWS-1252 -t UTF-8 {path.name} > utf8-{path.name}"
        ) from error
    except csv.Error as error:
        raise DataError(f"{path}: not a CSV file: {error}") from error
    except pa.ArrowException as error:
        raise DataError(f"{path}: not a Parquet file: {error}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (EOFError, zlib.error) as error:  # a torn or wrong .gz
        raise DataError(f"{path}: cannot be read: {error}") from error


def _csv(path: Path) -> Iterator[Row]:
    opened: Any = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
        lines = _lines(file)
        first = next(lines, "")
        mark = "," if "," in first else next((mark for mark in SEPARATORS if mark in first), ",")
        reader = csv.reader(itertools.chain([first], lines), delimiter=mark)
        for row in reader:
            yield reader.line_num, [_with_point(field) for field in row] if mark == ";" else row


def _lines(file: TextIO) -> Iterator[str]:
    """Lines, none longer than memory should hold: a .gz of some kilobytes may hold one of gigabytes."""
    while line := file.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE:
            raise csv.Error(f"a line of {LONGEST_LINE:,} characters or more")
        yield line


def _with_point(field: str) -> str:
    """A number with a decimal comma as the rest of the world writes it; any other text as it is."""
    return field.replace(",", ".") if "," in field and DECIMAL_COMMA.fullmatch(field) else field


def _excel(path: Path) -> Iterator[Row]:
    """The first sheet; cells hold values, formulas' results among them."""
    try:
        with zipfile.ZipFile(path) as packed:
            size = sum(member.file_size for member in packed.infolist())
        if size > LARGEST_WORKBOOK_BYTES:
            raise DataError(
                f"{path}: {size:,} bytes once unpacked, more than {LARGEST_WORKBOOK_BYTES:,}; save it as .csv"
            )
        yield from _first_sheet(path)
    except (DataError, OSError):
        raise
    except Exception as error:  # openpyxl, and the readers of ZIP and XML below it, raise whatever damage leads them to
        raise DataError(f"{path}: not an Excel file: {error}") from error


def _first_sheet(path: Path) -> Iterator[Row]:
    book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    try:
        sheet = book.worksheets[0]
        width = 0
        for number, cells in enumerate(sheet.iter_rows(values_only=True), start=1):
            row = [as_text(value) for value in cells]
            while len(row) > width and not row[-1]:
                row.pop()  # sheets are often wider than their table
            width = width or len(row)
            if any(row):
                yield number, row + [""] * (width - len(row))
    finally:
        book.close()


def _parquet(path: Path) -> Iterator[Row]:
    with pq.ParquetFile(path) as file:
        yield 1, list(file.schema_arrow.names)
        line = 1
        for batch in file.iter_batches(BATCH_ROWS):
            for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                line += 1
                yield line, [as_text(value) for value in row]
