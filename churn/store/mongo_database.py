"""A MongoDB database as the store uses it: every call timed, every error a sentence. The one home of pymongo."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from bson.errors import BSONError
from pymongo import IndexModel, MongoClient, ReturnDocument, UpdateOne, WriteConcern
from pymongo.errors import (
    BulkWriteError,
    ConfigurationError,
    DocumentTooLarge,
    DuplicateKeyError,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

from churn.errors import FieldProblem, InvalidInput, StoreUnavailable

Document = dict[str, Any]
Order = Sequence[tuple[str, int]]
"""Names with 1 for ascending or -1 for descending."""

DUPLICATE = 11_000
REFUSED_FOR_EVER = {2, 121, 10_334}
"""BadValue, DocumentValidationFailure, BSONObjectTooLarge: the document's fault, not the server's."""
REMEDIES = {
    13: "does not grant this user the right; give it readWrite on the database",
    18: "refused the user or the password; correct them in STORE_URL",
    8000: "refused the user or the password; correct them in STORE_URL",
}
WINDOW = [(name, 1) for name in ("contract", "created", "_id", "model_run_id", "route", "draw")]
CUSTOMER = [("contract", 1), ("customer_id", 1), ("created", 1)]
BY_CUSTOMER = [(name, 1) for name in ("contract", "customer_id", "time", "_id")]
BY_TIME = [(name, 1) for name in ("contract", "time", "_id")]
INDEXES = {
    "predictions": [
        IndexModel(WINDOW),
        IndexModel(CUSTOMER, partialFilterExpression={"customer_id": {"$exists": True}}),
        IndexModel("expires_at", expireAfterSeconds=0),
    ],
    "labels": [IndexModel("expires_at", expireAfterSeconds=0)],
    "documents": [IndexModel([("kind", 1), ("key", 1)])],
}
INDEXES_OF_SOME = {"transactions": [IndexModel(BY_CUSTOMER), IndexModel(BY_TIME)]}
"""Made when first needed: few contracts have them, and few users the right to make them."""


class MongoDatabase:
    """Safe to share between threads. Writes are acknowledged by a majority, from its journal."""

    def __init__(self, url: str, timeout_seconds: float) -> None:
        milliseconds = int(timeout_seconds * 1000)
        with _translated():
            self._client: MongoClient[Document] = MongoClient(
                url,
                serverSelectionTimeoutMS=milliseconds,
                connectTimeoutMS=milliseconds,
                socketTimeoutMS=milliseconds,
                tz_aware=True,
                appname="churnwatch",
            )
            self._database = self._client.get_default_database(
                "churnwatch", write_concern=WriteConcern(w="majority", j=True, wtimeout=milliseconds)
            )

    def check(self) -> None:
        """Reach it, make indexes where absent, write and read. A user without rights fails here, not at 3 a.m."""
        with _translated():
            self._client.admin.command("ping")
            for collection, indexes in INDEXES.items():
                self._database[collection].create_indexes(indexes)
            self._database["checks"].replace_one({"_id": "check"}, {"_id": "check"}, upsert=True)
            self._database["checks"].find_one({"_id": "check"})

    def make_indexes(self, collection: str) -> None:
        """Those of a collection that `check` leaves out, where absent."""
        with _translated():
            self._database[collection].create_indexes(INDEXES_OF_SOME[collection])

    def insert(self, collection: str, documents: Sequence[Document]) -> int:
        """Says how many were new. Raises InvalidInput when the server can never take one of them."""
        if not documents:
            return 0
        with _translated():
            try:
                self._database[collection].insert_many(documents, ordered=False)
                return len(documents)
            except BulkWriteError as error:
                problems = [problem for problem in error.details["writeErrors"] if problem["code"] != DUPLICATE]
                if problems and all(problem["code"] in REFUSED_FOR_EVER for problem in problems):
                    raise _refused(problems[0]["errmsg"]) from error
                if problems or error.details["writeConcernErrors"]:
                    raise
                return int(error.details["nInserted"])

    def replace(self, collection: str, document: Document) -> None:
        with _translated():
            self._database[collection].replace_one({"_id": document["_id"]}, document, upsert=True)

    def write_later(self, collection: str, documents: Sequence[Document], time: str, again: bool = False) -> int:
        """Upsert those later by the field `time` than what is kept; says how many. `again` also takes equal times."""
        operator = "$lte" if again else "$lt"
        behind = [{"_id": new["_id"], time: {operator: new[time]}} for new in documents]
        written, failed = self._update(collection, behind, documents, upsert=True)
        # A duplicate is a newer one kept already, or one that came in between: then the guard decides again.
        again_behind, again_new = [behind[i] for i in failed], [documents[i] for i in failed]
        return written + self._update(collection, again_behind, again_new, upsert=False)[0]

    def change(self, collection: str, where: Document, change: Document, upsert: bool = False) -> Document | None:
        """Change one document atomically and return it; None when no document fits (or an upsert met another)."""
        with _translated():
            try:
                return self._database[collection].find_one_and_update(
                    where, change, upsert=upsert, return_document=ReturnDocument.AFTER
                )
            except DuplicateKeyError:
                return None

    def find(
        self,
        collection: str,
        where: Document,
        shape: Mapping[str, int] | None = None,
        order: Order = (),
        limit: int = 0,
    ) -> list[Document]:
        with _translated():
            cursor = self._database[collection].find(where, shape)
            return list((cursor.sort(list(order)) if order else cursor).limit(limit))

    def count(self, collection: str, where: Document) -> int:
        with _translated():
            return self._database[collection].count_documents(where)

    def groups(self, collection: str, where: Document, names: Sequence[str]) -> list[tuple[Any, ...]]:
        """The distinct combinations of some fields, sorted."""
        by = {name: f"${name}" for name in names}
        with _translated():
            found = self._database[collection].aggregate([{"$match": where}, {"$group": {"_id": by}}])
            return sorted(tuple(group["_id"][name] for name in names) for group in found)

    def delete(self, collection: str, where: Document) -> int:
        with _translated():
            return self._database[collection].delete_many(where).deleted_count

    def close(self) -> None:
        self._client.close()

    def _update(
        self, collection: str, behind: Sequence[Document], new: Sequence[Document], upsert: bool
    ) -> tuple[int, list[int]]:
        """How many were written, and the positions that met a duplicate."""
        changes = [UpdateOne(where, {"$set": fields}, upsert=upsert) for where, fields in zip(behind, new, strict=True)]
        if not changes:
            return 0, []
        with _translated():
            try:
                outcome: Any = self._database[collection].bulk_write(changes, ordered=False).bulk_api_result
                failed = []
            except BulkWriteError as error:
                outcome, problems = error.details, error.details["writeErrors"]
                if outcome["writeConcernErrors"] or any(problem["code"] != DUPLICATE for problem in problems):
                    raise
                failed = [problem["index"] for problem in problems]
        return int(outcome["nMatched"]) + int(outcome["nUpserted"]), failed


@contextmanager
def _translated() -> Iterator[None]:
    """pymongo's errors as the core's: what is wrong with the address, the password, the rights or the document."""
    try:
        yield
    except DuplicateKeyError:
        raise
    except (BSONError, OverflowError, DocumentTooLarge) as error:
        raise _refused(str(error)) from error
    except ConfigurationError as error:
        raise StoreUnavailable(f"STORE_URL: {error}; expected mongodb://USER:PASSWORD@HOST:PORT/DATABASE") from error
    except ServerSelectionTimeoutError as error:
        text = str(error).partition(", Timeout:")[0]
        raise StoreUnavailable(f"MongoDB cannot be reached; check STORE_URL and that it runs ({text})") from error
    except BulkWriteError as error:
        first = [*error.details["writeErrors"], *error.details["writeConcernErrors"]][0]
        raise StoreUnavailable(f"MongoDB refused a write (code {first.get('code')}: {first.get('errmsg')})") from error
    except OperationFailure as error:
        remedy = REMEDIES.get(error.code or 0, "refused")
        raise StoreUnavailable(f"MongoDB {remedy} (code {error.code}: {error})") from error
    except PyMongoError as error:
        raise StoreUnavailable(f"MongoDB: {error}") from error


def _refused(reason: str) -> InvalidInput:
    return InvalidInput([FieldProblem("prediction", reason, "a record that MongoDB can hold")])
