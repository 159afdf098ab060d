"""How customers come out of their transactions: which raw column is what, what a feature measures, how segments are
called. A contract says it; what computes it stands in orchestration/transactions/."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from churn.contract_reader import TableReader

MEASURES: Mapping[str, str] = {
    "days_since_last": "days from the last order to the cut-off",
    "days_since_first": "days from the first order to the cut-off",
    "orders": "orders",
    "order_days": "days with an order",
    "spend": "money of all orders",
    "spend_per_order": "money of an order, on average",
    "largest_order": "money of the largest order",
    "last_order": "money of the last order",
    "order_deviation": "standard deviation of the orders' money; missing with fewer than two",
    "items_per_order": "pieces in an order, on average",
    "lines_per_order": "lines in an order, on average: the basket's size",
    "different_items": "different items ever ordered",
    "price_per_item": "money of a piece, on average",
    "gap_mean": "days between two days with an order, on average; missing with fewer than two",
    "gap_deviation": "standard deviation of those gaps; missing with fewer than three days",
    "gap_longest": "the longest of those gaps",
    "gap_last": "the last of those gaps",
    "overdue": "days since the last order as a multiple of the average gap",
    "returns": "invoices of returned goods",
    "returned_share": "money of returned goods as a share of the money of all orders",
    "most_frequent": "the value of `column` on most lines of the orders",
    "segment": "the name of the customer's segment",
}
"""What a feature may measure as of the cut-off; with `within_days`, over the orders of so many days before it.

An order is what was bought on one invoice: lines of a positive quantity and price, not cancelled, of no ignored item.
"""
MOST_FREQUENT, SEGMENT = "most_frequent", "segment"
LONGEST_HORIZON_DAYS = 3_650.0


@dataclass(frozen=True, slots=True)
class Measure:
    """What a feature measures: a name among MEASURES, over all time or `within_days` before the cut-off."""

    name: str
    within_days: int | None = None
    column: str | None = None


@dataclass(frozen=True, slots=True)
class SegmentName:
    """A segment's name and where it lies: how lately, how often and for how much its customers buy, in standard
    deviations of the logarithms from the average customer."""

    name: str
    lately: float
    often: float
    much: float


@dataclass(frozen=True, slots=True)
class Transactions:
    """The columns of a file of transactions, a row a line of an invoice, and what leaving means: no order in the
    `horizon_days` from a cut-off on. The customer's column is the contract's id."""

    time: str
    invoice: str
    item: str
    quantity: str
    price: str
    horizon_days: int
    time_format: str | None = None
    cancelled_prefix: str | None = None
    ignored_items: tuple[str, ...] = ()
    segments: tuple[SegmentName, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        return self.time, self.invoice, self.item, self.quantity, self.price


def read_transactions(table: TableReader) -> Transactions:
    """The [source.transactions] table. What is wrong with it goes to the reader's problems."""
    transactions = Transactions(
        time=table.text("time"),
        invoice=table.text("invoice"),
        item=table.text("item"),
        quantity=table.text("quantity"),
        price=table.text("price"),
        horizon_days=int(table.number("horizon_days", 90, minimum=1, maximum=LONGEST_HORIZON_DAYS)),
        time_format=table.text("time_format", optional=True),
        cancelled_prefix=table.text("cancelled_prefix", optional=True),
        ignored_items=table.words("ignored_items"),
        segments=tuple(_segment(row) for row in table.rows("segments")),
    )
    for what, values in (("columns", transactions.columns), ("segments", [one.name for one in transactions.segments])):
        twice = sorted({value for value in values if value and values.count(value) > 1})
        if twice:
            table.problem(f"{what}: '{twice[0]}' stands there twice")
    if len(transactions.segments) == 1:
        table.problem("segments: one segment is none; name two or more")
    return transactions


def read_measure(table: TableReader) -> Measure | None:
    """`measure`, `within_days` and `column` of a [features.NAME] table; None when it measures nothing."""
    name = table.text("measure", optional=True)
    days, column = table.number("within_days", None, minimum=1), table.text("column", optional=True)
    if name is None:
        if days is not None or column is not None:
            table.problem("within_days and column say what a measure is over; give the measure")
        return None
    if name not in MEASURES:
        table.problem(f"measure='{name}': expected one of {', '.join(MEASURES)}")
    if (name == MOST_FREQUENT) != (column is not None):
        table.problem(f"column: belongs to measure '{MOST_FREQUENT}', which needs one")
    return Measure(name, None if days is None else int(days), column)


def _segment(table: TableReader) -> SegmentName:
    return SegmentName(
        table.text("name"), table.number("lately", 0.0), table.number("often", 0.0), table.number("much", 0.0)
    )
