"""Transactions in MongoDB: a document a line, indexed by customer and by time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice

from churn.store.interface import Saved
from churn.store.mongo_database import Document, MongoDatabase
from churn.store.records import from_microseconds, microseconds
from churn.store.transactions import Transaction, attributes_text

PAGE = 2_000
READ_PAGE = 4_000
IN_ORDER = [("time", 1), ("_id", 1)]


class MongoTransactions:
    """The part of MongoStore that keeps transactions."""

    _database: MongoDatabase

    def put_transactions(self, contract: str, transactions: Iterable[Transaction]) -> Saved:
        """What is there already is left out of the writes: a second load costs little."""
        self._database.make_indexes("transactions")
        stored = seen = 0
        remaining = iter(transactions)
        while some := list(islice(remaining, PAGE)):
            documents = {document["_id"]: document for document in (_document(contract, one) for one in some)}
            known = self._database.find("transactions", {"_id": {"$in": list(documents)}}, {"_id": 1})
            for document in known:
                del documents[document["_id"]]
            stored += self._database.insert("transactions", list(documents.values()))
            seen += len(some)
        return Saved(stored=stored, repeated=seen - stored)

    def transactions(
        self,
        contract: str,
        customer_id: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> Iterator[Transaction]:
        """A page a query, each from where the last one ended."""
        where: Document = {"contract": contract}
        if customer_id is not None:
            where["customer_id"] = customer_id
        span = {} if start is None else {"$gte": microseconds(start)}
        if end is not None:
            span["$lt"] = microseconds(end)
        page = self._page({**where, **({"time": span} if span else {})})
        while page:
            yield from map(_transaction, page)
            if len(page) < READ_PAGE:
                return
            time, last = page[-1]["time"], page[-1]["_id"]
            later = [{"time": {"$gt": time}}, {"_id": {"$gt": last}}]
            page = self._page({**where, "time": {**span, "$gte": time}, "$or": later})

    def count_transactions(self, contract: str) -> int:
        return self._database.count("transactions", {"contract": contract})

    def _page(self, where: Document) -> list[Document]:
        return self._database.find("transactions", where, order=IN_ORDER, limit=READ_PAGE)


def _document(contract: str, one: Transaction) -> Document:
    return {
        "_id": f"{contract}/{one.transaction_id}",
        "contract": contract,
        "customer_id": one.customer_id,
        "time": microseconds(one.time),
        "invoice": one.invoice,
        "item": one.item,
        "quantity": one.quantity,
        "price": one.price,
        "cancelled": one.cancelled,
        "copy": one.copy,
        "attributes": attributes_text(one),  # as text: their names may be such as BSON refuses
    }


def _transaction(document: Document) -> Transaction:
    return Transaction(
        customer_id=document["customer_id"],
        time=from_microseconds(document["time"]),
        invoice=document["invoice"],
        item=document["item"],
        quantity=document["quantity"],
        price=document["price"],
        cancelled=document["cancelled"],
        copy=document["copy"],
        attributes=json.loads(document["attributes"]),
    )
