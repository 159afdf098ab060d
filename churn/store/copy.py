"""The store as a whole, for backup and restore: either home behind the same few words."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from churn.errors import BackupError, SettingError
from churn.sqlite_copy import copy_sqlite, holds_rows, place_sqlite

Kind = Literal["sqlite", "mongodb"]
SQLITE_FILE = "store.db"


def kind_of(url: str) -> Kind:
    """Which home an address leads to."""
    if url.startswith("sqlite:///"):
        return "sqlite"
    if url.startswith(("mongodb://", "mongodb+srv://")):
        return "mongodb"
    raise SettingError("STORE_URL", url.partition("://")[0], "sqlite:///PATH or mongodb://HOST:PORT/DATABASE")


def save_store(url: str, folder: Path, timeout_seconds: float) -> dict[str, int]:
    """Copy everything into a folder; returns rows a table or documents a collection. An SQLite store that was never
    made has none."""
    if kind_of(url) == "sqlite":
        path = sqlite_path(url)
        folder.mkdir(parents=True, exist_ok=True)
        return copy_sqlite(path, folder / SQLITE_FILE) if path.exists() else {}
    from churn.store.mongo_copy import MongoCopy  # its driver is paid for by those who use it

    with MongoCopy(url, timeout_seconds) as copy:
        return copy.save(folder)


def store_is_empty(url: str, timeout_seconds: float) -> bool:
    if kind_of(url) == "sqlite":
        return not holds_rows(sqlite_path(url))
    from churn.store.mongo_copy import MongoCopy

    with MongoCopy(url, timeout_seconds) as copy:
        return not copy.holds_documents()


def load_store(url: str, folder: Path, kind: str, timeout_seconds: float) -> dict[str, int]:
    """Put back what `save_store` copied, in place of what is there. Raises BackupError for a copy of the other home."""
    if kind != kind_of(url):
        raise BackupError(f"the backup holds a store of kind {kind}, and STORE_URL leads to one of kind {kind_of(url)}")
    if kind == "sqlite":
        copied = folder / SQLITE_FILE
        return place_sqlite(copied, sqlite_path(url)) if copied.exists() else {}
    from churn.store.mongo_copy import MongoCopy

    with MongoCopy(url, timeout_seconds) as copy:
        copy.clear()
        return copy.load(folder)


def sqlite_path(url: str) -> Path:
    return Path(unquote(url.removeprefix("sqlite:///")))
