"""Customers as of a cut-off: what was known of each before it, who ordered after it, and the proof that no feature
knows anything of what came after."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import pandas as pd

from churn.contract import Contract
from churn.errors import DataError
from churn.transactions import Transactions
from orchestration.transactions.ledger import Ledger
from orchestration.transactions.measures import EXPRESSIONS, buyers_query, customers_query

CUSTOMER = "customer"


def customers_as_of(
    ledger: Ledger,
    contract: Contract,
    transactions: Transactions,
    cut_off: datetime,
    expressions: Mapping[str, str] = EXPRESSIONS,
) -> pd.DataFrame:
    """A row for each customer with an order before the cut-off: see `customers_query`."""
    return ledger.frame(customers_query(contract, transactions, cut_off, ledger.attributes, expressions))


def stayed(ledger: Ledger, transactions: Transactions, cut_off: datetime) -> set[str]:
    """Who ordered within the horizon from the cut-off on."""
    end = cut_off + timedelta(days=transactions.horizon_days)
    return set(ledger.frame(buyers_query(transactions, cut_off, end))[CUSTOMER])


def check_nothing_later(
    ledger: Ledger,
    contract: Contract,
    transactions: Transactions,
    cut_off: datetime,
    customers: pd.DataFrame,
    expressions: Mapping[str, str] = EXPRESSIONS,
) -> None:
    """Compute `customers` again as if the file had ended at the cut-off; raises DataError naming what differs."""
    with ledger.only_before(cut_off):
        again = customers_as_of(ledger, contract, transactions, cut_off, expressions)
    if again[CUSTOMER].tolist() != customers[CUSTOMER].tolist():
        raise DataError(f"{contract.name}: who is a customer on {cut_off:%Y-%m-%d} depends on what came after it")
    later = [column for column in customers.columns if not _same(customers[column], again[column])]
    if later:
        names = ", ".join(_name(contract, column) for column in later)
        raise DataError(f"{contract.name}: {names}: uses what happened after the cut-off {cut_off:%Y-%m-%d}; a leak")


def _same(one: pd.Series, other: pd.Series) -> bool:
    """Sums of floats may differ in their last bits with the order of their terms; a leak differs by more."""
    if pd.api.types.is_numeric_dtype(one) and pd.api.types.is_numeric_dtype(other):
        scale = 1e-9 * one.abs().clip(lower=1.0)
        return bool((((one - other).abs() <= scale) | (one.isna() & other.isna())).all())
    return bool(((one == other) | (one.isna() & other.isna())).all())


def _name(contract: Contract, column: str) -> str:
    place = column.removeprefix("feature_")
    return contract.features[int(place)].name if place != column else column
