"""The prediction log in MongoDB: for several machines, with expiry by the server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

import msgspec

from churn.prediction import Label, Prediction, Route
from churn.store.interface import Customer, Labelled, Saved
from churn.store.labels import label_in_force
from churn.store.mongo_database import Document, MongoDatabase
from churn.store.mongo_labels import forget_labels, keep_labels, labellable, truths_of
from churn.store.mongo_shards import MongoShards
from churn.store.mongo_transactions import MongoTransactions
from churn.store.records import document_text, draw, finite, from_microseconds, microseconds, restored

PAGE = 1_000
READ_PAGE = 4_000
"""Some wire-compatible servers sort the rest of the window for every page: fewer pages, still few megabytes."""
IN_ORDER = [("created", 1), ("_id", 1)]


class MongoStore(MongoShards, MongoTransactions):
    """`PredictionStore` on a server. `_id` is the prediction's id; `created` is exact in microseconds, where
    `created_at`, a BSON date, is cut to milliseconds for people and for the server's expiry."""

    def __init__(self, url: str, *, timeout_seconds: float = 5.0, retention_days: Mapping[str, int]) -> None:
        self._database = MongoDatabase(url, timeout_seconds)
        self._retention_days = retention_days

    def check(self) -> None:
        self._database.check()

    def save(self, predictions: Sequence[Prediction]) -> Saved:
        stored = 0
        for start in range(0, len(predictions), PAGE):
            some = predictions[start : start + PAGE]
            stored += self._database.insert("predictions", [self._document(prediction) for prediction in some])
        return Saved(stored=stored, repeated=len(predictions) - stored)

    def get(self, prediction_id: str) -> Prediction | None:
        return self.get_many([prediction_id]).get(prediction_id)

    def get_many(self, prediction_ids: Sequence[str]) -> dict[str, Prediction]:
        found = {}
        for start in range(0, len(prediction_ids), PAGE):
            some = list(prediction_ids[start : start + PAGE])
            documents = self._database.find("predictions", {"_id": {"$in": some}})
            found.update({prediction.prediction_id: prediction for prediction in _predictions(documents)})
        return found

    def window(
        self,
        contract: str,
        model_run_id: str | None,
        start: datetime,
        end: datetime,
        limit: int | None = None,
        sample: int | None = None,
    ) -> Iterator[Prediction]:
        where = _where(contract=contract, model_run_id=model_run_id, start=start, end=end)
        size = READ_PAGE if limit is None else max(1, min(READ_PAGE, limit))
        pages = self._pages(where, size) if sample is None else self._sample(where, sample)
        yield from islice((prediction for page in pages for prediction in _predictions(page)), limit)

    def count(
        self,
        contract: str | None = None,
        model_run_id: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        route: Route | None = None,
    ) -> int:
        where = _where(contract=contract, model_run_id=model_run_id, start=start, end=end, route=route)
        return self._database.count("predictions", where)

    def runs(self, start: datetime | None = None, end: datetime | None = None) -> list[tuple[str, str]]:
        pairs = self._database.groups("predictions", _where(start=start, end=end), ("contract", "model_run_id"))
        return [(contract, run) for contract, run in pairs]

    def purge(self, contract: str, before: datetime) -> int:
        purged = 0
        old = {"contract": contract, "created": {"$lt": microseconds(before)}}
        while found := self._database.find("predictions", old, {"_id": 1}, limit=PAGE):
            some = {"_id": {"$in": [document["_id"] for document in found]}}
            purged += self._database.delete("predictions", some)
            self._database.delete("labels", some)
        forget_labels(self._database, contract, microseconds(before))
        return purged

    def label(self, labels: Sequence[Label]) -> Labelled:
        some = [
            keep_labels(self._database, labels[start : start + PAGE], self._retention_days)
            for start in range(0, len(labels), PAGE)
        ]
        return Labelled(*(sum(getattr(part, name) for part in some) for name in ("matched", "changed", "unknown")))

    def labelled(
        self, contract: str, model_run_id: str | None, start: datetime, end: datetime
    ) -> Iterator[tuple[Prediction, Label]]:
        for page in self._pages(_where(contract=contract, model_run_id=model_run_id, start=start, end=end)):
            truths = truths_of(self._database, page)
            for document in page:
                ground, by_customer = truths.of(labellable(document))
                prediction = None if ground is None else _prediction(document)
                if prediction is not None and ground is not None:
                    yield prediction, label_in_force(prediction, ground, by_customer)

    def put_customers(self, contract: str, customers: Iterable[Customer]) -> int:
        written = 0
        remaining = iter(customers)
        while some := list(islice(remaining, PAGE)):
            documents = [
                {
                    "_id": f"{contract}/{customer.customer_id}",
                    "as_of": microseconds(customer.as_of),
                    "features": finite(customer.features),
                }
                for customer in some
            ]
            written += self._database.write_later("customers", documents, "as_of", again=True)
        return written

    def customer(self, contract: str, customer_id: str) -> Customer | None:
        for found in self._database.find("customers", {"_id": f"{contract}/{customer_id}"}):
            return Customer(customer_id, found["features"], from_microseconds(found["as_of"]))
        return None

    def put_document(self, kind: str, key: str, document: Mapping[str, Any], replace: bool = False) -> bool:
        """As text: a document may hold names and numbers that BSON refuses."""
        kept = {"_id": f"{kind}/{key}", "kind": kind, "key": key, "body": document_text(document)}
        if not replace:
            return self._database.insert("documents", [kept]) == 1
        self._database.replace("documents", kept)
        return True

    def document(self, kind: str, key: str) -> dict[str, Any] | None:
        found = self._database.find("documents", {"_id": f"{kind}/{key}"})
        return msgspec.json.decode(found[0]["body"]) if found else None

    def documents(
        self, kind: str, prefix: str = "", newest_first: bool = True, limit: int = 1000
    ) -> list[dict[str, Any]]:
        if limit < 1:  # which the server takes for "all"
            return []
        where = {"kind": kind, "key": {"$gte": prefix, "$lt": prefix + chr(0x10FFFF)}}
        order = [("key", -1 if newest_first else 1)]
        found = self._database.find("documents", where, order=order, limit=limit)
        return [msgspec.json.decode(document["body"]) for document in found]

    def close(self) -> None:
        self._database.close()

    def _document(self, prediction: Prediction) -> Document:
        document = msgspec.structs.asdict(prediction)
        document["_id"] = document.pop("prediction_id")
        document["created"] = microseconds(prediction.created_at)
        document["features"] = finite(prediction.features)
        document["draw"] = draw(prediction.prediction_id)
        if prediction.event_time is not None:
            document["event"] = microseconds(prediction.event_time)
        if prediction.customer_id is None:
            del document["customer_id"]  # keeps it out of the customers' index
        days = self._retention_days.get(prediction.contract)
        if days is not None:
            document["expires_at"] = prediction.created_at + timedelta(days=days)
        return document

    def _pages(self, where: Document, size: int = READ_PAGE) -> Iterator[list[Document]]:
        """Documents in order, a page a query: no cursor that a slow reader or a failover could lose."""
        page = self._database.find("predictions", where, order=IN_ORDER, limit=size)
        while page:
            yield page
            if len(page) < size:
                return
            created, prediction_id = page[-1]["created"], page[-1]["_id"]
            later = [{"created": {"$gt": created}}, {"_id": {"$gt": prediction_id}}]
            after = {**where, "created": {**where["created"], "$gte": created}, "$or": later}
            page = self._database.find("predictions", after, order=IN_ORDER, limit=size)

    def _sample(self, where: Document, sample: int) -> Iterator[list[Document]]:
        """The smallest draws: chosen from the window's index alone, then fetched in order."""
        order = [("draw", 1), ("created", 1)]
        found = self._database.find("predictions", where, {"created": 1}, order, sample) if sample else []
        chosen = sorted((document["created"], document["_id"]) for document in found)
        for start in range(0, len(chosen), PAGE):
            ids = [prediction_id for _, prediction_id in chosen[start : start + PAGE]]
            yield self._database.find("predictions", {"_id": {"$in": ids}}, order=IN_ORDER)


def _where(
    *,
    contract: str | None = None,
    model_run_id: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    route: Route | None = None,
) -> Document:
    span = {}
    if start is not None:
        span["$gte"] = microseconds(start)
    if end is not None:
        span["$lt"] = microseconds(end)
    wanted = {"contract": contract, "model_run_id": model_run_id, "created": span or None, "route": route}
    return {name: value for name, value in wanted.items() if value is not None}


def _predictions(documents: Sequence[Document]) -> Iterator[Prediction]:
    return (prediction for prediction in map(_prediction, documents) if prediction is not None)


def _prediction(document: Document) -> Prediction | None:
    fields = {**document, "prediction_id": document["_id"], "created_at": from_microseconds(document["created"])}
    if "event" in document:
        fields["event_time"] = from_microseconds(document["event"])
    return restored(fields)
