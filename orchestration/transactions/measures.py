"""What each measure of a contract is in SQL: expressions over a customer's aggregates of all time or of a window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from churn.contract import Contract
from churn.transactions import MEASURES, MOST_FREQUENT, SEGMENT, Transactions
from orchestration.transactions.ledger import moment

DAY = 86_400.0
EXPRESSIONS: Mapping[str, str] = {
    "days_since_last": f"date_diff('second', {{w}}.last, {{cut_off}}) / {DAY}",
    "days_since_first": f"date_diff('second', {{w}}.first, {{cut_off}}) / {DAY}",
    "orders": "coalesce({w}.orders, 0)",
    "order_days": "coalesce({w}.days, 0)",
    "spend": "coalesce({w}.spend, 0)",
    "spend_per_order": "{w}.spend / {w}.orders",
    "largest_order": "{w}.largest",
    "last_order": "{w}.last_spend",
    "order_deviation": "{w}.deviation",
    "items_per_order": "{w}.pieces / {w}.orders",
    "lines_per_order": "{w}.basket / {w}.orders",
    "different_items": "coalesce({w}.items, 0)",
    "price_per_item": "{w}.spend / {w}.pieces",
    "gap_mean": "{w}.gap",
    "gap_deviation": "{w}.gap_spread",
    "gap_longest": "{w}.longest_gap",
    "gap_last": "{w}.newest_gap",
    "overdue": f"date_diff('second', {{w}}.last, {{cut_off}}) / {DAY} / {{w}}.gap",
    "returns": "coalesce({w}.returned, 0)",
    "returned_share": "coalesce({w}.returned_money, 0) / {w}.spend",
}
assert EXPRESSIONS.keys() == MEASURES.keys() - {MOST_FREQUENT, SEGMENT}  # noqa: S101 a measure without SQL is no use

KNOWN = """
known AS (SELECT * FROM lines WHERE time < {cut_off} AND NOT list_contains({ignored}, item)),
bought AS (SELECT * FROM known WHERE quantity > 0 AND price > 0 AND NOT cancelled),
brought_back AS (SELECT * FROM known WHERE (quantity < 0 OR cancelled) AND price > 0),
orders AS (
    SELECT customer, invoice, min(time) AS time, sum(quantity * price) AS spend, sum(quantity) AS pieces,
        count(*) AS basket
    FROM bought GROUP BY customer, invoice
),
customers AS (SELECT DISTINCT customer FROM orders)
"""
"""What happened before the cut-off, and nothing else: every aggregate below is made of these."""
WINDOW = """
{w} AS (
    WITH mine AS (SELECT * FROM orders WHERE {within}),
    days AS (SELECT DISTINCT customer, time::DATE AS day FROM mine),
    gaps AS (SELECT customer, day, day - lag(day) OVER (PARTITION BY customer ORDER BY day) AS gap FROM days)
    SELECT * FROM customers
    LEFT JOIN (
        SELECT customer, count(*) AS orders, sum(spend) AS spend, max(spend) AS largest, min(time) AS first,
            max(time) AS last, arg_max(spend, (time, invoice)) AS last_spend, stddev_samp(spend) AS deviation,
            sum(pieces) AS pieces, sum(basket) AS basket
        FROM mine GROUP BY customer
    ) USING (customer)
    LEFT JOIN (SELECT customer, count(*) AS days FROM days GROUP BY customer) USING (customer)
    LEFT JOIN (
        SELECT customer, avg(gap) AS gap, stddev_samp(gap) AS gap_spread, max(gap) AS longest_gap,
            arg_max(gap, day) AS newest_gap
        FROM gaps WHERE gap IS NOT NULL GROUP BY customer
    ) USING (customer)
    LEFT JOIN (
        SELECT customer, count(DISTINCT item) AS items FROM bought WHERE {within} GROUP BY customer
    ) USING (customer)
    LEFT JOIN (
        SELECT customer, count(DISTINCT invoice) AS returned, sum(abs(quantity) * price) AS returned_money
        FROM brought_back WHERE {within} GROUP BY customer
    ) USING (customer)
)
"""
FREQUENT = """
frequent_{i} AS (
    SELECT customer, arg_max(value, (times, value)) AS value FROM (
        SELECT customer, attribute_{i} AS value, count(*) AS times FROM bought
        WHERE attribute_{i} IS NOT NULL GROUP BY customer, attribute_{i}
    ) GROUP BY customer
)
"""
RECENCY, FREQUENCY, SPEND = "recency", "frequency", "spend"


def customers_query(
    contract: Contract,
    transactions: Transactions,
    cut_off: datetime,
    attributes: Sequence[str],
    expressions: Mapping[str, str] = EXPRESSIONS,
) -> str:
    """A row a customer as of the cut-off: `customer`, RFM for the segments, then `feature_0`, … in contract order.

    A feature that is the segment has none here.
    """
    ignored = "[" + ", ".join(text(item) for item in transactions.ignored_items) + "]::VARCHAR[]"
    windows = {None, *(feature.measure.within_days for feature in contract.features if feature.measure)}
    parts = [KNOWN.format(cut_off=moment(cut_off), ignored=ignored)]
    parts += [WINDOW.format(w=window(days), within=_within(cut_off, days)) for days in sorted(windows, key=str)]
    parts += [FREQUENT.format(i=i) for i in range(len(attributes))]

    def measured(name: str, days: int | None) -> str:
        return expressions[name].format(w=window(days), cut_off=moment(cut_off))

    names = {RECENCY: "days_since_last", FREQUENCY: "orders", SPEND: "spend"}
    columns = ["customer", *(f"{measured(measure, None)} AS {name}" for name, measure in names.items())]
    for i, feature in enumerate(contract.features):
        measure = feature.measure
        if measure is None or measure.name == SEGMENT:
            continue
        if measure.name == MOST_FREQUENT and measure.column is not None:
            columns.append(f"frequent_{attributes.index(measure.column)}.value AS feature_{i}")
        else:
            columns.append(f"{measured(measure.name, measure.within_days)} AS feature_{i}")
    joined = [*(window(days) for days in windows), *(f"frequent_{i}" for i in range(len(attributes)))]
    joins = " ".join(f"LEFT JOIN {name} USING (customer)" for name in joined)
    chosen = ", ".join(columns)
    return f"WITH {', '.join(parts)} SELECT {chosen} FROM customers {joins} ORDER BY customer"  # noqa: S608 own text


def buyers_query(transactions: Transactions, start: datetime, end: datetime) -> str:
    """Who ordered in start <= time < end."""
    ignored = "[" + ", ".join(text(item) for item in transactions.ignored_items) + "]::VARCHAR[]"
    return (
        f"SELECT DISTINCT customer FROM lines WHERE time >= {moment(start)} AND time < {moment(end)} "  # noqa: S608
        f"AND quantity > 0 AND price > 0 AND NOT cancelled AND NOT list_contains({ignored}, item)"
    )


def window(days: int | None) -> str:
    return "always" if days is None else f"within_{days}"


def text(value: str) -> str:
    """Text as SQL writes it."""
    return "'" + value.replace("'", "''") + "'"


def _within(cut_off: datetime, days: int | None) -> str:
    return "true" if days is None else f"time >= {moment(cut_off - timedelta(days=days))}"
