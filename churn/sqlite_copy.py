"""A whole copy of one SQLite database, taken while others write to it, and put back: whoever owns the file."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from churn.errors import BackupError


def copy_sqlite(source: Path, target: Path) -> dict[str, int]:
    """Copy by SQLite's online backup, one moment of it, to a file that must not be there. Returns rows a table.

    Raises BackupError for a file that is no sound database.
    """
    try:
        with (
            closing(sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True, timeout=60)) as live,
            closing(sqlite3.connect(target)) as copy,
        ):
            live.backup(copy, pages=4096)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, nothing beside it
            return _checked(copy, target)
    except sqlite3.Error as error:
        raise BackupError(f"{source}: cannot be copied: {error}") from error


def place_sqlite(source: Path, target: Path) -> dict[str, int]:
    """Put a copy at a place, whole or not at all, without what an older database left beside it. Returns rows."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.restored")
    partial.unlink(missing_ok=True)
    counts = copy_sqlite(source, partial)
    for left in ("-wal", "-shm", "-journal"):
        target.with_name(target.name + left).unlink(missing_ok=True)
    partial.replace(target)
    return counts


def holds_rows(path: Path) -> bool:
    """Whether a database is there that has anything in it."""
    if not path.exists():
        return False
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=60)) as found:
            return any(_counts(found).values())
    except sqlite3.Error:
        return True  # a file of another kind is something too


def _checked(copy: sqlite3.Connection, path: Path) -> dict[str, int]:
    said = copy.execute("PRAGMA integrity_check").fetchone()[0]
    if said != "ok":
        raise BackupError(f"{path}: the database is damaged: {said}")
    return _counts(copy)


def _counts(database: sqlite3.Connection) -> dict[str, int]:
    names = [row[0] for row in database.execute("SELECT name FROM sqlite_schema WHERE type='table' ORDER BY name")]
    quoted = {name: name.replace('"', '""') for name in names if not name.startswith("sqlite_")}
    return {
        name: int(database.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0])  # noqa: S608  # its own names
        for name, table in quoted.items()
    }
