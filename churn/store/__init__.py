"""Where predictions live: `open_store` gives a home by its address, MongoDB or SQLite, behind one interface."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

from churn.errors import StoreUnavailable
from churn.store.interface import PredictionStore

__all__ = ["PredictionStore", "open_store"]


def open_store(
    url: str, *, timeout_seconds: float = 5.0, retention_days: Mapping[str, int] | None = None
) -> PredictionStore:
    """The store at `sqlite:///path` (four slashes for an absolute one) or `mongodb://host:port/database`.

    Connects when first used; call `check()` at start to learn early what is wrong. `retention_days` (by contract)
    lets MongoDB expire predictions by itself; the watch purges both homes besides. Open one per process, after any
    fork. Raises StoreUnavailable for an address that names no store.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite" and rest.startswith("/") and len(rest) > 1:
        from churn.store.sqlite import SqliteStore

        return SqliteStore(Path(unquote(rest[1:])), timeout_seconds=timeout_seconds)
    if scheme in ("mongodb", "mongodb+srv"):
        from churn.store.mongo import MongoStore  # its driver costs 0.3 s and 20 MB, paid by those who use it

        return MongoStore(url, timeout_seconds=timeout_seconds, retention_days=retention_days or {})
    raise StoreUnavailable(
        f"STORE_URL={_without_password(url)}: expected sqlite:///PATH or mongodb://HOST:PORT/DATABASE"
    )


def _without_password(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}***@{rest.rpartition('@')[2]}" if "@" in rest else url
