"""Ground truth in MongoDB: collections of its own, joined to the predictions when read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from churn.prediction import Label
from churn.store.interface import Labelled
from churn.store.labels import Labellable, Truths, check_label
from churn.store.mongo_database import Document, MongoDatabase
from churn.store.records import microseconds

SHAPE = {"contract": 1, "customer_id": 1, "created": 1}
LABEL_PAGE = 1_000


def keep_labels(database: MongoDatabase, labels: Sequence[Label], retention_days: Mapping[str, int]) -> Labelled:
    """Keep every label, also one whose prediction is still on its way to the store. Raises InvalidInput first."""
    for label in labels:
        check_label(label)
    rows = database.find("predictions", _fits(labels), SHAPE) if labels else []
    outcome = truths_of(database, rows).apply(labels, map(labellable, rows))
    longest = max(retention_days.values(), default=None)
    by_id = [_kept(label, longest) for label in labels if label.prediction_id is not None]
    by_customer = [_kept(label, None) for label in labels if label.prediction_id is None]
    database.write_later("labels", by_id, "observed")
    database.write_later("customer_labels", by_customer, "observed")
    return outcome


def forget_labels(database: MongoDatabase, contract: str, before: int) -> None:
    """Drop what can label nothing any more, once the predictions created before that time are gone."""
    database.delete("customer_labels", {"contract": contract, "observed": {"$lt": before}})
    last = ""
    while found := database.find(
        "labels", {"_id": {"$gt": last}, "observed": {"$lt": before}}, {"_id": 1}, [("_id", 1)], LABEL_PAGE
    ):
        ids = [label["_id"] for label in found]
        labelled = {row["_id"] for row in database.find("predictions", {"_id": {"$in": ids}}, {"_id": 1})}
        database.delete("labels", {"_id": {"$in": [one for one in ids if one not in labelled]}})
        last = ids[-1]


def truths_of(database: MongoDatabase, rows: Sequence[Document]) -> Truths:
    """What is known of some predictions, in two queries."""
    truths = Truths()
    customers = {f"{row['contract']}/{row['customer_id']}" for row in rows if row.get("customer_id") is not None}
    for found in database.find("labels", {"_id": {"$in": [row["_id"] for row in rows]}}) if rows else []:
        truths.by_id[found["_id"]] = (found["churned"], found["observed"])
    for found in database.find("customer_labels", {"_id": {"$in": list(customers)}}) if customers else []:
        truths.by_customer[found["contract"], found["customer_id"]] = (found["churned"], found["observed"])
    return truths


def labellable(document: Document) -> Labellable:
    return Labellable(document["_id"], document["contract"], document.get("customer_id"), document["created"])


def _fits(labels: Sequence[Label]) -> Document:
    ids = [label.prediction_id for label in labels if label.prediction_id is not None]
    customers: dict[str | None, set[str | None]] = {}
    for label in labels:
        if label.prediction_id is None:
            customers.setdefault(label.contract, set()).add(label.customer_id)
    by_customer = [{"contract": name, "customer_id": {"$in": list(some)}} for name, some in customers.items()]
    return {"$or": [{"_id": {"$in": ids}}, *by_customer]}


def _kept(label: Label, longest_days: int | None) -> Document:
    """A label by id may come before its contract is known, so it stays as long as the longest retention."""
    kept: Document = {"churned": label.churned, "observed": microseconds(label.observed_at)}
    if label.prediction_id is None:
        customer = {"contract": label.contract, "customer_id": label.customer_id}
        return {"_id": f"{label.contract}/{label.customer_id}", **customer, **kept}
    if longest_days is not None:
        kept["expires_at"] = label.observed_at + timedelta(days=longest_days)
    return {"_id": label.prediction_id, **kept}
