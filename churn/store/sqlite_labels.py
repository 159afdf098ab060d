"""Ground truth in SQLite: its own tables, joined to the predictions when read."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

from churn.prediction import Label
from churn.store.interface import Labelled
from churn.store.labels import Ground, Labellable, Truths, check_label, in_force
from churn.store.records import microseconds

JOINED = "predictions LEFT JOIN labels USING (prediction_id) LEFT JOIN customer_labels USING (contract, customer_id)"
HAS_LABEL = "(labels.observed NOT NULL OR customer_labels.observed >= created)"
GROUND = "created, labels.churned, labels.observed, customer_labels.churned, customer_labels.observed"
LATER = "DO UPDATE SET churned = excluded.churned, observed = excluded.observed WHERE excluded.observed > observed"


def keep_labels(connection: sqlite3.Connection, labels: Sequence[Label]) -> Labelled:
    """Keep every label, also one whose prediction is still on its way to the store. Raises InvalidInput first."""
    for label in labels:
        check_label(label)
    truths, rows = Truths(), []
    for label in labels:
        for *known, churned, observed, customer_churned, customer_observed in _fitting(connection, label):
            row = Labellable(*known)
            rows.append(row)
            if observed is not None:
                truths.by_id[row.prediction_id] = (bool(churned), observed)
            if customer_observed is not None and row.customer_id is not None:
                truths.by_customer[row.contract, row.customer_id] = (bool(customer_churned), customer_observed)
    outcome = truths.apply(labels, rows)
    for label in labels:
        _keep(connection, label)
    return outcome


def forget_labels(connection: sqlite3.Connection, contract: str, before: int) -> None:
    """Drop what can label nothing any more, once the predictions created before that time are gone."""
    connection.execute("DELETE FROM customer_labels WHERE contract = ? AND observed < ?", (contract, before))
    connection.execute(
        "DELETE FROM labels WHERE observed < ? AND NOT EXISTS "
        "(SELECT 1 FROM predictions WHERE predictions.prediction_id = labels.prediction_id)",
        (before,),
    )


def truth(row: Sequence[Any]) -> tuple[Ground | None, bool]:
    """What holds for a row of GROUND, and whether it came by customer."""
    created, churned, observed, customer_churned, customer_observed = row
    by_id = None if observed is None else (bool(churned), observed)
    by_customer = None if customer_observed is None else (bool(customer_churned), customer_observed)
    return in_force(created, by_id, by_customer)


def _fitting(connection: sqlite3.Connection, label: Label) -> Iterator[tuple[Any, ...]]:
    values: tuple[Any, ...]
    if label.prediction_id is not None:
        where, values = "prediction_id = ?", (label.prediction_id,)
    else:
        where = "contract = ? AND customer_id = ? AND created <= ?"
        values = (label.contract, label.customer_id, microseconds(label.observed_at))
    query = f"SELECT prediction_id, contract, customer_id, {GROUND} FROM {JOINED} WHERE {where}"  # noqa: S608 own text
    yield from connection.execute(query, values)


def _keep(connection: sqlite3.Connection, label: Label) -> None:
    ground = (label.churned, microseconds(label.observed_at))
    if label.prediction_id is not None:
        connection.execute(
            f"INSERT INTO labels VALUES (?, ?, ?) ON CONFLICT {LATER}",  # noqa: S608 own text
            (label.prediction_id, *ground),
        )
    else:
        connection.execute(
            f"INSERT INTO customer_labels VALUES (?, ?, ?, ?) ON CONFLICT {LATER}",  # noqa: S608 own text
            (label.contract, label.customer_id, *ground),
        )
