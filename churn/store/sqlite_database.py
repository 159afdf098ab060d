"""One SQLite file as several threads and processes use it: a writer, a few readers, errors that say what to do."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from churn.errors import StoreUnavailable

SCHEMA_VERSION = 3
SCHEMA = """
CREATE TABLE IF NOT EXISTS predictions (
    prediction_id TEXT NOT NULL UNIQUE,
    contract TEXT NOT NULL,
    created INTEGER NOT NULL,
    model_run_id TEXT NOT NULL,
    route TEXT NOT NULL,
    draw INTEGER NOT NULL,
    customer_id TEXT,
    body TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS predictions_by_window ON predictions (contract, created, model_run_id, route, draw);
CREATE INDEX IF NOT EXISTS predictions_by_customer ON predictions (contract, customer_id, created)
    WHERE customer_id IS NOT NULL;
CREATE TABLE IF NOT EXISTS labels (
    prediction_id TEXT PRIMARY KEY, churned INTEGER NOT NULL, observed INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS customer_labels (
    contract TEXT NOT NULL, customer_id TEXT NOT NULL, churned INTEGER NOT NULL, observed INTEGER NOT NULL,
    PRIMARY KEY (contract, customer_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS customers (
    contract TEXT NOT NULL, customer_id TEXT NOT NULL, as_of INTEGER NOT NULL, features TEXT NOT NULL,
    PRIMARY KEY (contract, customer_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS transaction_lines (
    contract TEXT NOT NULL, customer_id TEXT NOT NULL, time INTEGER NOT NULL, transaction_id BLOB NOT NULL,
    invoice TEXT NOT NULL, item TEXT NOT NULL, quantity REAL NOT NULL, price REAL NOT NULL,
    cancelled INTEGER NOT NULL, copy INTEGER NOT NULL, attributes TEXT NOT NULL,
    PRIMARY KEY (contract, customer_id, time, transaction_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS transaction_lines_by_time ON transaction_lines (contract, time, customer_id, transaction_id);
CREATE TABLE IF NOT EXISTS shards (
    consumer TEXT NOT NULL, shard_id TEXT NOT NULL, owner TEXT, token INTEGER NOT NULL, expires INTEGER,
    sequence_number TEXT, sequence_order TEXT NOT NULL DEFAULT '', checkpointed INTEGER,
    finished INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (consumer, shard_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS documents (
    kind TEXT NOT NULL, key TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (kind, key)
);
"""
MAX_IDLE_READERS = 4
WRITER_CACHE_KB = 32_000
"""Room for the pages that a batch of 10,000 changes: too little, and they are written twice."""
CHECKPOINT_PAGES = 10_000
"""40 MB of log before its pages go to their places: those of indexes over random ids are changed again and again."""


class Database:
    """Safe to share between threads. One connection writes, under a lock; readers are borrowed from a small pool.

    WAL lets readers and one writer of any process go on side by side; a commit is on the disk when it returns."""

    def __init__(self, path: Path, timeout_seconds: float) -> None:
        self.path = path
        self._timeout_seconds = timeout_seconds
        self._write_lock = threading.Lock()
        self._pool_lock = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._readers: list[sqlite3.Connection] = []
        self._prepared = False

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction that holds the file's write lock from its start: committed at the end, or rolled back."""
        with self._translated(), self._write_lock:
            if self._writer is None:
                self._writer = self._connect()
                self._writer.execute(f"PRAGMA cache_size=-{WRITER_CACHE_KB}")
                self._writer.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
            connection = self._writer
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A connection for short reads: hold it for one query, not for a whole window."""
        with self._translated():
            with self._pool_lock:
                connection = self._readers.pop() if self._readers else None
            connection = connection or self._connect()
            try:
                yield connection
            finally:
                with self._pool_lock:
                    keep = len(self._readers) < MAX_IDLE_READERS
                    if keep:
                        self._readers.append(connection)
                if not keep:
                    connection.close()

    def close(self) -> None:
        with self._write_lock, self._pool_lock:
            for connection in [*self._readers, *([self._writer] if self._writer else [])]:
                connection.close()
            self._readers, self._writer = [], None

    def _connect(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            self.path, timeout=self._timeout_seconds, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA temp_store=MEMORY")
            connection.execute("PRAGMA cache_size=-8000")
            if not self._prepared:
                self._prepare(connection)
                self._prepared = True
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise StoreUnavailable(
                f"the store {self.path} has version {version} and this release knows {SCHEMA_VERSION}: "
                "upgrade Churnwatch or name another STORE_URL"
            )
        if version < SCHEMA_VERSION:
            self._switch_to_wal(connection)
            connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;")

    def _switch_to_wal(self, connection: sqlite3.Connection) -> None:
        """SQLite's own busy timeout does not cover this switch, which several new workers may ask for at once."""
        give_up = time.monotonic() + self._timeout_seconds
        while True:
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > give_up:
                    raise
                time.sleep(0.01)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreUnavailable(f"the store {self.path}: {_what_to_do(error)}") from error


REMEDIES = {
    "unable to open": "cannot be opened; check that its folder exists and may be written by this user",
    "readonly": "is read-only; give this user the right to write the file and its folder",
    "disk I/O": "met a disk error; see whether its disk is full or failing",
    "disk is full": "found its disk full; free some space",
    "locked": "was held by another process for too long; see what else writes to it or raise STORE_TIMEOUT_SECONDS",
    "not a database": "is not a SQLite file; name another STORE_URL",
    "malformed": "is damaged; restore it from a backup or move it away",
}


def _what_to_do(error: Exception) -> str:
    text = str(error)
    return next((f"{remedy} ({text})" for sign, remedy in REMEDIES.items() if sign in text), text)
