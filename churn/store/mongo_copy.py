"""A whole copy of the store's MongoDB database in mongodump's own form, and back. pymongo's other home.

A running database is copied collection by collection, each in the order of `_id`: checkpoints first and predictions
last, so that a restored checkpoint is never ahead of the predictions that it stands for.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

from bson import decode_file_iter
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.errors import BulkWriteError, PyMongoError

from churn.errors import BackupError, StoreUnavailable

FIRST, LAST = ("shards",), ("predictions",)
"""Copied before and after all others."""
TRANSIENT = frozenset({"checks"})
"""What a service writes to prove that it can."""
BATCH = 1_000
RAW = CodecOptions(document_class=RawBSONDocument)


class MongoCopy:
    """One database. Use as a context manager."""

    def __init__(self, url: str, timeout_seconds: float) -> None:
        milliseconds = int(timeout_seconds * 1000)
        self._client: MongoClient[Any] = MongoClient(
            url, serverSelectionTimeoutMS=milliseconds, connectTimeoutMS=milliseconds, appname="churnwatch-backup"
        )
        self._database = self._client.get_default_database("churnwatch")

    def __enter__(self) -> MongoCopy:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def save(self, folder: Path) -> dict[str, int]:
        """Write COLLECTION.bson.gz for each collection; returns how many documents each has."""
        folder.mkdir(parents=True, exist_ok=True)
        with _translated():
            return {name: self._save(name, folder / f"{name}.bson.gz") for name in self._names()}

    def holds_documents(self) -> bool:
        with _translated():
            return any(self._database[name].find_one({}, {"_id": 1}) is not None for name in self._names())

    def clear(self) -> None:
        """Remove every document; collections, indexes and users' rights stay."""
        with _translated():
            for name in self._names():
                self._database[name].delete_many({})

    def load(self, folder: Path) -> dict[str, int]:
        """Write back what `save` wrote; returns how many documents each collection took. What a retention has ended
        meanwhile, the server deletes again by itself."""
        with _translated():
            return {path.name.removesuffix(".bson.gz"): self._load(path) for path in sorted(folder.glob("*.bson.gz"))}

    def _names(self) -> list[str]:
        found = [name for name in self._database.list_collection_names() if not name.startswith("system.")]
        order = dict.fromkeys(FIRST, -1) | dict.fromkeys(LAST, 1)
        return sorted(set(found) - TRANSIENT, key=lambda name: (order.get(name, 0), name))

    def _save(self, name: str, path: Path) -> int:
        count = 0
        with gzip.open(path, "wb", compresslevel=3) as file:
            for document in self._database.get_collection(name, codec_options=RAW).find({}).sort("_id", 1):
                file.write(document.raw)
                count += 1
        return count

    def _load(self, path: Path) -> int:
        collection = self._database.get_collection(path.name.removesuffix(".bson.gz"), codec_options=RAW)
        count = 0
        with gzip.open(path, "rb") as file:
            documents: Iterator[RawBSONDocument] = decode_file_iter(cast(BinaryIO, file), RAW)
            while batch := list(islice(documents, BATCH)):
                try:
                    collection.insert_many(batch, ordered=False)
                    count += len(batch)
                except BulkWriteError as error:
                    first = error.details["writeErrors"][0]["errmsg"] if error.details["writeErrors"] else error
                    raise BackupError(f"{path.name}: a document was not taken back: {first}") from error
        return count


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except PyMongoError as error:
        raise StoreUnavailable(f"the store did not answer, or refused: {str(error)[:300]}; see STORE_URL") from error
