"""Customers drawn from a population: hidden numbers, values, and whether each of them leaves."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from churn.contract import Feature
from simulation.population import Column, Population, Term

Numbers = NDArray[np.float64]
Hidden = dict[str, Numbers]
NORMAL = NormalDist()
BASE_ROWS = 20_000
"""The base of the log-odds is set on so many customers of a fixed seed: it belongs to the population, not to a draw."""
ID_RANGE = (100_000_000, 999_999_999)


def draw_population(population: Population, rows: int, seed: int) -> pd.DataFrame:
    """Cleaned rows: `customer_id`, the contract's features (None where missing) and `churned`."""
    random = np.random.default_rng(seed)
    hidden = _hidden(population, rows, random)
    churned = random.random(rows) < _probability(log_odds(population, hidden) + base(population))
    identities = random.choice(ID_RANGE[1] - ID_RANGE[0], rows, replace=False) + ID_RANGE[0]
    values = {column.feature.name: _values(column, population, hidden) for column in population.drawn_columns}
    for column in population.columns:
        if column.at_most:
            values[column.feature.name] = np.minimum(values[column.feature.name], values[column.at_most])
        if column.ratio:
            values[column.feature.name] = _ratio(column, values)
        if column.product:
            values[column.feature.name] = _product(column, values, random)
        for other, level in column.unless.items():
            values[column.feature.name] = np.where(values[other] == level, "false", values[column.feature.name])
    columns: dict[str, Any] = {"customer_id": identities.astype(str)}
    for column in population.columns:
        missing = random.random(rows) < column.missing
        columns[column.feature.name] = _finished(column, values[column.feature.name], missing)
    return pd.DataFrame({**columns, "churned": churned})


def raw_table(population: Population, customers: pd.DataFrame) -> pd.DataFrame:
    """The same customers as the source would write them: its column names and spellings, all as text."""
    contract = population.contract
    target = contract.target
    negative = target.negative or target.negative_label
    table = {
        contract.id_column: customers["customer_id"],
        target.column: customers["churned"].map({True: target.positive, False: negative}),
    }
    for feature in contract.features:
        spelled = _spelling(feature)
        table[contract.raw_columns[feature.name]] = pd.Series(
            [population.missing_spelling if value is None else spelled(value) for value in plain(customers, feature)],
            index=customers.index,
        )
    return pd.DataFrame(table)


def plain(customers: pd.DataFrame, feature: Feature) -> list[Any]:
    """A column as plain Python values that JSON knows: int, float, str, bool, and None where missing."""
    column = customers[feature.name].astype(object)
    convert = {"integer": int, "number": float, "boolean": bool}.get(feature.type, str)
    return [None if value is None else convert(value) for value in column.where(column.notna(), None)]


def log_odds(population: Population, hidden: Hidden) -> Numbers:
    """The sum of the churn terms, without the base."""
    rows = len(next(iter(hidden.values())))
    terms = [_term(term, hidden, population.width) for term in population.terms]
    return np.asarray(population.sharpness * np.sum([np.zeros(rows), *terms], axis=0))


def base(population: Population) -> float:
    """The constant of the log-odds at which the population's churn rate is met, by bisection."""
    odds = log_odds(population, _hidden(population, BASE_ROWS, np.random.default_rng(0)))
    low, high = -60.0, 60.0
    for _ in range(60):
        middle = (low + high) / 2
        if _probability(odds + middle).mean() < population.churn_rate:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _hidden(population: Population, rows: int, random: np.random.Generator) -> Hidden:
    factors = {name: random.standard_normal(rows) for name in population.factors}
    hidden = {}
    for column in population.drawn_columns:
        own = max(0.0, 1.0 - sum(loading**2 for loading in column.loadings.values()))
        number = np.sqrt(own) * random.standard_normal(rows)
        for factor, loading in column.loadings.items():
            number = number + loading * factors[factor]
        hidden[column.feature.name] = number
    return hidden


def _term(term: Term, hidden: Hidden, width: float) -> Numbers:
    rows = len(next(iter(hidden.values())))
    product = np.full(rows, term.weight)
    for ranks, sign in ((term.above, 1.0), (term.below, -1.0)):
        for name, rank in ranks.items():
            product = product * _probability(sign * (hidden[name] - NORMAL.inv_cdf(rank)) / width)
    return product


def _values(column: Column, population: Population, hidden: Hidden) -> Any:
    number = hidden[column.feature.name]
    if column.shares:
        levels = list(column.shares)
        edges = [NORMAL.inv_cdf(min(1 - 1e-12, edge)) for edge in np.cumsum(list(column.shares.values()))[:-1]]
        return np.array(levels, dtype=object)[np.searchsorted(edges, number)]
    levels_at = [NORMAL.inv_cdf(min(max(level, 1e-5), 1 - 1e-5)) for level in population.quantile_levels]
    return np.round(np.interp(number, levels_at, column.quantiles), column.decimals)


def _ratio(column: Column, values: dict[str, Any]) -> Numbers:
    above, below = (values[name] for name in column.ratio)
    quotient = np.divide(above, below, out=np.zeros_like(above), where=below != 0)
    feature = column.feature
    return np.asarray(np.round(np.clip(quotient, feature.minimum, feature.maximum), column.decimals))


def _product(column: Column, values: dict[str, Any], random: np.random.Generator) -> Numbers:
    first, second = (values[name] for name in column.product)
    product = first * second * (1 + column.spread * random.standard_normal(len(first)))
    feature = column.feature
    return np.asarray(np.round(np.clip(product, feature.minimum, feature.maximum), column.decimals))


def _finished(column: Column, values: Any, missing: NDArray[np.bool_]) -> Any:
    feature = column.feature
    if feature.type == "number":
        return np.where(missing, np.nan, values)
    if feature.type == "integer":
        return pd.arrays.IntegerArray(values.astype(np.int64), missing)
    if feature.type == "boolean":
        values = values == "true"
    return np.where(missing, None, values)


def _spelling(feature: Feature) -> Any:
    if feature.type == "boolean":
        spelled: dict[bool, str] = {True: "true", False: "false"}
        for text, value in reversed(list(feature.spellings.items())):
            spelled[value is True] = text
        return spelled.__getitem__
    return _number_text if feature.is_numeric else str


def _number_text(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _probability(odds: Numbers) -> Numbers:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(odds, -500, 500))))
