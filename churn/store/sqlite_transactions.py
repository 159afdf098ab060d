"""Transactions in SQLite: one table, ordered by customer and time, with an index by time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import Any

from churn.store.interface import Saved
from churn.store.records import from_microseconds, microseconds
from churn.store.sqlite_database import Database
from churn.store.transactions import Transaction, attributes_text

PAGE = 5_000
COLUMNS = "customer_id, time, transaction_id, invoice, item, quantity, price, cancelled, copy, attributes"


class SqliteTransactions:
    """The part of SqliteStore that keeps transactions."""

    _database: Database

    def put_transactions(self, contract: str, transactions: Iterable[Transaction]) -> Saved:
        stored = seen = 0
        remaining = iter(transactions)
        while some := list(islice(remaining, PAGE)):
            with self._database.write() as connection:
                before = connection.total_changes
                connection.executemany(
                    "INSERT INTO transaction_lines VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                    [_row(contract, one) for one in some],
                )
                stored += connection.total_changes - before
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
        where = "contract = ?"
        values: list[Any] = [contract]
        if customer_id is not None:
            where, values = f"{where} AND customer_id = ?", [*values, customer_id]
        if end is not None:
            where, values = f"{where} AND time < ?", [*values, microseconds(end)]
        after: tuple[Any, ...] = (-(2**63) if start is None else microseconds(start), "", b"")
        query = (
            f"SELECT {COLUMNS} FROM transaction_lines WHERE {where} "  # noqa: S608 own text
            "AND (time, customer_id, transaction_id) > (?, ?, ?) ORDER BY time, customer_id, transaction_id LIMIT ?"
        )
        while True:
            with self._database.read() as connection:
                rows = connection.execute(query, [*values, *after, PAGE]).fetchall()
            yield from map(_transaction, rows)
            if len(rows) < PAGE:
                return
            after = (rows[-1][1], rows[-1][0], rows[-1][2])

    def count_transactions(self, contract: str) -> int:
        with self._database.read() as connection:
            query = "SELECT count(*) FROM transaction_lines WHERE contract = ?"
            return int(connection.execute(query, (contract,)).fetchone()[0])


def _row(contract: str, one: Transaction) -> tuple[Any, ...]:
    return (
        contract, one.customer_id, microseconds(one.time), bytes.fromhex(one.transaction_id), one.invoice, one.item,
        one.quantity, one.price, one.cancelled, one.copy, attributes_text(one),
    )  # fmt: skip


def _transaction(row: tuple[Any, ...]) -> Transaction:
    customer_id, time, _, invoice, item, quantity, price, cancelled, copy, attributes = row
    return Transaction(
        customer_id=customer_id,
        time=from_microseconds(time),
        invoice=invoice,
        item=item,
        quantity=quantity,
        price=price,
        cancelled=bool(cancelled),
        copy=copy,
        attributes=json.loads(attributes),
    )
