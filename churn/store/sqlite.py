"""The prediction log in one SQLite file: the embedded default, for one machine and several processes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any

import msgspec

from churn.prediction import Label, Prediction, Route, from_json, to_json
from churn.store.interface import Customer, Labelled, Saved
from churn.store.labels import Ground, label_in_force
from churn.store.records import (
    document_text,
    draw,
    finite,
    from_microseconds,
    microseconds,
    restored,
)
from churn.store.sqlite_database import Database
from churn.store.sqlite_labels import GROUND, HAS_LABEL, JOINED, forget_labels, keep_labels, truth
from churn.store.sqlite_shards import SqliteShards
from churn.store.sqlite_transactions import SqliteTransactions

PAGE = 1_000
PURGE_PAGE = 5_000
KEEP_AS_PARAMETERS = 900
"""SQLite takes 999 parameters a statement in its older builds."""


class SqliteStore(SqliteShards, SqliteTransactions):
    """`PredictionStore` on a file. Labels, shards and transactions have files of their own."""

    def __init__(self, path: Path, *, timeout_seconds: float = 5.0) -> None:
        self._database = Database(path, timeout_seconds)

    def check(self) -> None:
        with self._database.write() as connection:
            connection.execute("INSERT INTO documents VALUES ('check', 'check', '{}') ON CONFLICT DO NOTHING")
            connection.execute("DELETE FROM documents WHERE kind = 'check'")

    def save(self, predictions: Sequence[Prediction]) -> Saved:
        # In order of ids, since those of the stream are random: a large index is walked through, not jumped about in.
        rows = sorted(map(_row, predictions), key=itemgetter(0))
        with self._database.write() as connection:
            before = connection.total_changes
            connection.executemany(
                "INSERT INTO predictions VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", rows
            )
            stored = connection.total_changes - before
        return Saved(stored=stored, repeated=len(rows) - stored)

    def get(self, prediction_id: str) -> Prediction | None:
        return self.get_many([prediction_id]).get(prediction_id)

    def get_many(self, prediction_ids: Sequence[str]) -> dict[str, Prediction]:
        found = {}
        for start in range(0, len(prediction_ids), KEEP_AS_PARAMETERS):
            some = prediction_ids[start : start + KEEP_AS_PARAMETERS]
            marks = ", ".join("?" * len(some))
            query = f"SELECT body FROM predictions WHERE prediction_id IN ({marks})"  # noqa: S608 only question marks
            for prediction in _decoded(self._rows(query, some)):
                found[prediction.prediction_id] = prediction
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
        if sample is not None:
            where, values = _where(contract=contract, model_run_id=model_run_id, start=start, end=end)
            yield from self._sample(where, values, sample, limit)
            return
        where, values = _where(contract=contract, model_run_id=model_run_id, end=end)
        size = PAGE if limit is None else max(1, min(PAGE, limit))
        for rows in _first(self._pages("predictions", where, values, start, "body", size), limit):
            yield from _decoded([(body,) for *_, body in rows])

    def count(
        self,
        contract: str | None = None,
        model_run_id: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        route: Route | None = None,
    ) -> int:
        where, values = _where(contract=contract, model_run_id=model_run_id, start=start, end=end, route=route)
        return int(self._rows(f"SELECT count(*) FROM predictions WHERE {where}", values)[0][0])  # noqa: S608 own text

    def runs(self, start: datetime | None = None, end: datetime | None = None) -> list[tuple[str, str]]:
        pairs = []
        for (contract,) in self._rows(CONTRACTS, ()):
            where, values = _where(contract=contract, start=start, end=end)
            query = f"SELECT DISTINCT model_run_id FROM predictions WHERE {where}"  # noqa: S608 own text
            pairs += [(contract, run) for (run,) in self._rows(query, values)]
        return sorted(pairs)

    def purge(self, contract: str, before: datetime) -> int:
        """In steps, so that writers need not wait for a large purge."""
        purged = 0
        while True:
            with self._database.write() as connection:
                ids = connection.execute(
                    "SELECT prediction_id FROM predictions WHERE contract = ? AND created < ? LIMIT ?",
                    (contract, microseconds(before), PURGE_PAGE),
                ).fetchall()
                connection.executemany("DELETE FROM predictions WHERE prediction_id = ?", ids)
                connection.executemany("DELETE FROM labels WHERE prediction_id = ?", ids)
                purged += len(ids)
                if len(ids) < PURGE_PAGE:
                    forget_labels(connection, contract, microseconds(before))
                    return purged

    def label(self, labels: Sequence[Label]) -> Labelled:
        with self._database.write() as connection:
            return keep_labels(connection, labels)

    def labelled(
        self, contract: str, model_run_id: str | None, start: datetime, end: datetime
    ) -> Iterator[tuple[Prediction, Label]]:
        where, values = _where(contract=contract, model_run_id=model_run_id, end=end)
        for rows in self._pages(JOINED, f"{where} AND {HAS_LABEL}", values, start, f"{GROUND}, body"):
            for _, _, *ground, body in rows:
                yield from _with_label(body, *truth(ground))

    def put_customers(self, contract: str, customers: Iterable[Customer]) -> int:
        written = 0
        remaining = iter(customers)
        while some := list(islice(remaining, PAGE)):
            rows = [(contract, c.customer_id, microseconds(c.as_of), document_text(finite(c.features))) for c in some]
            with self._database.write() as connection:
                before = connection.total_changes
                connection.executemany(
                    "INSERT INTO customers VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE "
                    "SET as_of = excluded.as_of, features = excluded.features WHERE excluded.as_of >= as_of",
                    rows,
                )
                written += connection.total_changes - before
        return written

    def customer(self, contract: str, customer_id: str) -> Customer | None:
        query = "SELECT features, as_of FROM customers WHERE contract = ? AND customer_id = ?"
        for features, as_of in self._rows(query, (contract, customer_id)):
            return Customer(customer_id, msgspec.json.decode(features), from_microseconds(as_of))
        return None

    def put_document(self, kind: str, key: str, document: Mapping[str, Any], replace: bool = False) -> bool:
        conflict = "UPDATE SET body = excluded.body" if replace else "NOTHING"
        statement = f"INSERT INTO documents VALUES (?, ?, ?) ON CONFLICT DO {conflict}"  # noqa: S608 own text
        with self._database.write() as connection:
            return connection.execute(statement, (kind, key, document_text(document))).rowcount == 1

    def document(self, kind: str, key: str) -> dict[str, Any] | None:
        rows = self._rows("SELECT body FROM documents WHERE kind = ? AND key = ?", (kind, key))
        return msgspec.json.decode(rows[0][0]) if rows else None

    def documents(
        self, kind: str, prefix: str = "", newest_first: bool = True, limit: int = 1000
    ) -> list[dict[str, Any]]:
        order = "DESC" if newest_first else "ASC"
        query = (
            "SELECT body FROM documents WHERE kind = ? AND key >= ? AND substr(key, 1, ?) = ? "  # noqa: S608 own text
            f"ORDER BY key {order} LIMIT ?"
        )
        rows = self._rows(query, (kind, prefix, len(prefix), prefix, limit))
        return [msgspec.json.decode(body) for (body,) in rows]

    def close(self) -> None:
        self._database.close()

    def _rows(self, query: str, values: Sequence[Any]) -> list[Any]:
        with self._database.read() as connection:
            return connection.execute(query, values).fetchall()

    def _pages(
        self, source: str, where: str, values: Sequence[Any], start: datetime, columns: str, size: int = PAGE
    ) -> Iterator[list[Any]]:
        """Rows (created, prediction_id, *columns) from `start` in order, a page a query: no read stays open for long.

        Each page has one lower bound of time, where the last one ended; beside a second one, SQLite would take either
        and read the window from its start again and again."""
        created, prediction_id = microseconds(start), ""
        query = (
            f"SELECT created, prediction_id, {columns} FROM {source} WHERE {where} "  # noqa: S608 own text
            "AND created >= ? AND (created > ? OR prediction_id > ?) ORDER BY created, prediction_id LIMIT ?"
        )
        while True:
            rows = self._rows(query, [*values, created, created, prediction_id, size])
            if rows:
                yield rows
            if len(rows) < size:
                return
            created, prediction_id = rows[-1][:2]

    def _sample(self, where: str, values: Sequence[Any], sample: int, limit: int | None) -> Iterator[Prediction]:
        """The smallest draws: found in the window's index alone, then fetched in order."""
        query = (
            f"SELECT created, prediction_id FROM predictions WHERE rowid IN (SELECT rowid FROM predictions "  # noqa: S608
            f"WHERE {where} ORDER BY draw, created LIMIT ?) ORDER BY created, prediction_id"
        )
        chosen = [prediction_id for _, prediction_id in self._rows(query, [*values, sample])][:limit]
        for start in range(0, len(chosen), KEEP_AS_PARAMETERS):
            some = chosen[start : start + KEEP_AS_PARAMETERS]
            found = self.get_many(some)
            yield from (found[prediction_id] for prediction_id in some if prediction_id in found)


CONTRACTS = """
WITH RECURSIVE known(contract) AS (
    SELECT min(contract) FROM predictions
    UNION ALL
    SELECT (SELECT min(contract) FROM predictions WHERE contract > known.contract) FROM known WHERE contract NOT NULL
) SELECT contract FROM known WHERE contract NOT NULL
"""
"""Hops from contract to contract in the index, where DISTINCT would read a million entries."""


def _first(pages: Iterator[list[Any]], limit: int | None) -> Iterator[list[Any]]:
    """The pages' first `limit` rows."""
    for rows in pages:
        if limit is not None:
            rows = rows[:limit]
            limit -= len(rows)
        if rows:
            yield rows
        if limit == 0:
            return


def _where(
    *,
    contract: str | None = None,
    model_run_id: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    route: Route | None = None,
) -> tuple[str, list[Any]]:
    conditions = {
        "contract = ?": contract,
        "model_run_id = ?": model_run_id,
        "created >= ?": None if start is None else microseconds(start),
        "created < ?": None if end is None else microseconds(end),
        "route = ?": route,
    }
    used = {condition: value for condition, value in conditions.items() if value is not None}
    return " AND ".join(used) or "TRUE", list(used.values())


def _row(prediction: Prediction) -> tuple[Any, ...]:
    return (
        prediction.prediction_id,
        prediction.contract,
        microseconds(prediction.created_at),
        prediction.model_run_id,
        prediction.route,
        draw(prediction.prediction_id),
        prediction.customer_id,
        to_json(prediction).decode(),
    )


def _decoded(rows: Iterable[tuple[str]]) -> Iterator[Prediction]:
    for (body,) in rows:
        try:
            yield from_json(body.encode())
        except msgspec.ValidationError:
            prediction = restored(msgspec.json.decode(body))
            if prediction is not None:
                yield prediction


def _with_label(body: str, ground: Ground | None, by_customer: bool) -> Iterator[tuple[Prediction, Label]]:
    for prediction in _decoded([(body,)]):
        if ground is not None:
            yield prediction, label_in_force(prediction, ground, by_customer)
