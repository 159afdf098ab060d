"""DuckDB's home: the lines of a file of transactions in a table on disk, and what can be asked of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from churn.errors import DataError

if TYPE_CHECKING:
    import pandas  # loading needs none, and no 45 MB of it

MEMORY_MB = 128
"""Of DuckDB's own, where customers are measured; what does not fit goes to the folder."""
MEMORY_TO_READ_MB = 40
"""Enough to read lines and to put them in order."""
THREADS = 1
"""Each holds buffers of its own, and reading the file is most of the work."""
BATCH_ROWS = 2_000
TABLES = """
CREATE TABLE lines (
    line BIGINT, customer VARCHAR, time TIMESTAMP, invoice VARCHAR, item VARCHAR, quantity DOUBLE, price DOUBLE,
    cancelled BOOLEAN{attributes}
);
CREATE TABLE bad_lines (line BIGINT, reason VARCHAR, row VARCHAR);
"""


class Ledger:
    """One file's lines: `lines` holds those of customers, `bad_lines` those that cannot be read. Close it.

    `attributes` are further columns of the file, kept as `attribute_0`, `attribute_1`, …
    """

    def __init__(self, folder: Path, attributes: tuple[str, ...] = (), memory_mb: int = MEMORY_MB) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.attributes = attributes
        options: dict[str, Any] = {
            "memory_limit": f"{memory_mb}MB",
            "threads": THREADS,
            "temp_directory": str(folder / "spilled"),
            "preserve_insertion_order": False,
        }
        self._connection = duckdb.connect(folder / "ledger.duckdb", config=options)
        columns = "".join(f", attribute_{i} VARCHAR" for i in range(len(attributes)))
        self._connection.execute(TABLES.format(attributes=columns))
        self._connection.execute("SET enable_external_access=false")  # our statements read and write nothing else

    def run(self, statement: str, chunk: pa.Table | None = None, **values: Any) -> None:
        """Run a statement with its named values; it may read `chunk` as a table."""
        if chunk is not None:
            self._connection.register("chunk", chunk)
        with _answered():
            self._connection.execute(statement, values)

    def frame(self, query: str) -> pandas.DataFrame:
        with _answered():
            return self._connection.execute(query).df()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with _answered():
            return self._connection.execute(query).fetchall()

    def row(self, query: str) -> tuple[Any, ...]:
        """The one row of a query."""
        return self.rows(query)[0]

    def stream(self, query: str) -> Iterator[tuple[Any, ...]]:
        """A query's rows, not held as a whole; ask nothing else meanwhile."""
        with _answered():
            found = self._connection.execute(query)
            while rows := found.fetchmany(BATCH_ROWS):
                yield from rows

    @contextlib.contextmanager
    def only_before(self, cut_off: datetime) -> Iterator[None]:
        """While open, `lines` holds nothing from the cut-off on: the future has not happened."""
        self._connection.execute("CREATE SCHEMA past")
        try:
            self._connection.execute(
                f"CREATE VIEW past.lines AS SELECT * FROM main.lines WHERE time < {moment(cut_off)}"  # noqa: S608
            )
            self._connection.execute("SET schema = 'past'")
            yield
        finally:
            self._connection.execute("SET schema = 'main'")
            self._connection.execute("DROP SCHEMA past CASCADE")

    def close(self) -> None:
        self._connection.close()


def moment(time: datetime) -> str:
    """A time as SQL writes it."""
    return f"TIMESTAMP '{time:%Y-%m-%d %H:%M:%S.%f}'"


@contextlib.contextmanager
def _answered() -> Iterator[None]:
    try:
        yield
    except duckdb.InvalidInputException as error:
        raise DataError(f"the transactions cannot be read: {error}; correct time_format in the contract") from error
    except duckdb.OutOfMemoryException as error:
        raise DataError(f"the transactions do not fit: {error}; free space in the temporary folder") from error
