"""A simulated population, read from contracts/populations/*.toml: who the customers are and why they leave.

A Gaussian copula over a few named factors: each column has a hidden standard normal number,

    hidden = sum(loading * factor) + sqrt(1 - sum(loading^2)) * noise,

whose rank picks the column's value from quantiles or shares of levels. Churn is drawn from log-odds that are a sum
of smooth, partly interacting terms in the hidden numbers, so no linear model can follow it entirely.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from churn.contract import CONTRACTS_FOLDER, Contract, Feature
from churn.contract_reader import TableReader
from churn.errors import ContractError

POPULATIONS_FOLDER = CONTRACTS_FOLDER / "populations"


@dataclass(frozen=True, slots=True)
class Column:
    """How one feature is drawn: by `quantiles` at the population's levels, by `shares` of levels, or from two others
    as their `ratio` or their `product`, give or take `spread` (a share of it).

    `at_most` names a column that bounds this one; a boolean is false where each column of `unless` has that level;
    `missing` is the share of customers without a value.
    """

    feature: Feature
    loadings: Mapping[str, float]
    quantiles: tuple[float, ...] = ()
    shares: Mapping[str, float] | None = None
    ratio: tuple[str, ...] = ()
    product: tuple[str, ...] = ()
    spread: float = 0.0
    unless: Mapping[str, str] = field(default_factory=dict)
    at_most: str | None = None
    decimals: int = 0
    missing: float = 0.0

    @property
    def is_derived(self) -> bool:
        """Made from other columns, without a hidden number of its own."""
        return bool(self.ratio or self.product)


@dataclass(frozen=True, slots=True)
class Term:
    """`weight` of log-odds for customers above and below these ranks (0 to 1) of these columns."""

    weight: float
    above: Mapping[str, float]
    below: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Population:
    """One file: its factors, its columns in the contract's order, and the terms of churn."""

    contract: Contract
    factors: tuple[str, ...]
    quantile_levels: tuple[float, ...]
    columns: tuple[Column, ...]
    terms: tuple[Term, ...]
    churn_rate: float
    width: float
    sharpness: float
    missing_spelling: str

    @property
    def drawn_columns(self) -> tuple[Column, ...]:
        """Those with a hidden number of their own."""
        return tuple(column for column in self.columns if not column.is_derived)


def load_population(contract: Contract, folder: Path = POPULATIONS_FOLDER) -> Population:
    """Read the population of a contract. Raises ContractError naming every problem in the file."""
    path = folder / f"{contract.name}.toml"
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = ", ".join(sorted(file.stem for file in folder.glob("*.toml"))) or "none"
        raise ContractError(contract.name, [f"no population to simulate; known: {known}; or write {path}"]) from None
    except (OSError, ValueError) as error:
        raise ContractError(str(path), [f"cannot be read: {error}"]) from error
    return parse_population(document, contract, path.name)


def parse_population(document: Mapping[str, object], contract: Contract, source: str) -> Population:
    """Check a population against its contract. Raises ContractError naming every problem, `source` before them."""
    reader = TableReader(document)
    name = reader.text("contract")
    if name != contract.name:
        reader.problem(f"contract='{name}': expected '{contract.name}'")
    factors = reader.words("factors")
    levels = reader.numbers("quantile_levels")
    if len(levels) < 2 or levels[0] != 0 or levels[-1] != 1 or sorted(set(levels)) != list(levels):
        reader.problem("quantile_levels: expected growing numbers from 0 to 1")
    columns = _read_columns(reader, contract, factors, len(levels))
    churn = reader.table("churn")
    drawn = {column.feature.name for column in columns if not column.is_derived}
    population = Population(
        contract=contract,
        factors=factors,
        quantile_levels=levels,
        columns=columns,
        terms=tuple(_read_term(table, drawn) for table in churn.rows("terms")),
        churn_rate=churn.number("rate", 0.2, minimum=0.001, maximum=0.999),
        width=churn.number("width", 0.15, minimum=0.001),
        sharpness=churn.number("sharpness", 1.0, minimum=0),
        missing_spelling=reader.text("missing", optional=True) or "",
    )
    if population.missing_spelling not in contract.missing_spellings:
        reader.problem(f"missing='{population.missing_spelling}': the contract does not know it as missing")
    problems = reader.finish()
    if problems:
        raise ContractError(source, problems)
    return population


def _read_columns(reader: TableReader, contract: Contract, factors: tuple[str, ...], points: int) -> tuple[Column, ...]:
    columns = {}
    for name, table in reader.tables("columns"):
        if name in contract.feature_names:
            columns[name] = _read_column(table, contract.feature(name), factors, points)
        else:
            reader.problem(f"columns.{name}: the contract has no such feature")
    for name in contract.feature_names:
        if name not in columns:
            reader.problem(f"columns.{name}: missing; every feature of the contract needs a table")
    drawn = {name for name, column in columns.items() if not column.is_derived and column.quantiles}
    for name, column in columns.items():
        for other in (*column.ratio, *column.product, *filter(None, [column.at_most])):
            if other not in drawn:
                reader.problem(f"columns.{name}: refers to '{other}', which is no column with quantiles")
        for other, level in column.unless.items():
            if other not in columns or level not in (columns[other].shares or {}):
                reader.problem(f"columns.{name}: unless refers to {other}='{level}', which is no level with a share")
    return tuple(columns[name] for name in contract.feature_names if name in columns)


def _read_column(table: TableReader, feature: Feature, factors: tuple[str, ...], points: int) -> Column:
    column = Column(
        feature=feature,
        loadings=table.amounts("loadings"),
        quantiles=table.numbers("quantiles"),
        shares=table.amounts("shares") or None,
        ratio=table.words("ratio"),
        product=table.words("product"),
        spread=table.number("spread", 0.0, minimum=0, maximum=0.3),
        unless=table.strings("unless"),
        at_most=table.text("at_most", optional=True),
        decimals=int(table.number("decimals", 0, minimum=0, maximum=9)),
        missing=table.number("missing", 0.0, minimum=0, maximum=0.95),
    )
    for problem in _column_problems(column, factors, points):
        table.problem(problem)
    return column


def _column_problems(column: Column, factors: tuple[str, ...], points: int) -> list[str]:
    feature, problems = column.feature, []
    for factor in set(column.loadings) - set(factors):
        problems.append(f"loadings: '{factor}' is none of the factors")
    if sum(loading**2 for loading in column.loadings.values()) > 1:
        problems.append("loadings: their squares add up to more than 1")
    if (bool(column.quantiles) + bool(column.shares) + bool(column.ratio) + bool(column.product)) != 1:
        problems.append("expected one of quantiles, shares, ratio and product")
    if column.missing and feature.required:
        problems.append("missing: the contract says that this feature is required")
    if column.is_derived and len(column.ratio or column.product) != 2:
        problems.append(f"{'ratio' if column.ratio else 'product'}: expected two columns")
    if column.unless and feature.type != "boolean":
        problems.append(f"unless: a {feature.type} cannot be false")
    if bool(column.shares) == feature.is_numeric:
        problems.append(
            f"a {feature.type} is drawn by {'quantiles, ratio or product' if feature.is_numeric else 'shares'}"
        )
    if column.shares:
        expected = {"true", "false"} if feature.type == "boolean" else set(feature.levels)
        if set(column.shares) != expected or not math.isclose(sum(column.shares.values()), 1, abs_tol=1e-6):
            problems.append(f"shares: expected one for each of {', '.join(sorted(expected))}, adding up to 1")
    if column.quantiles:
        low = -math.inf if feature.minimum is None else feature.minimum
        high = math.inf if feature.maximum is None else feature.maximum
        if len(column.quantiles) != points or list(column.quantiles) != sorted(column.quantiles):
            problems.append(f"quantiles: expected {points} numbers that do not fall, one a quantile level")
        elif not low <= column.quantiles[0] <= column.quantiles[-1] <= high:
            problems.append(f"quantiles: expected {feature.expected}")
    return problems


def _read_term(table: TableReader, drawn: set[str]) -> Term:
    term = Term(table.number("weight", 0.0), table.amounts("above"), table.amounts("below"))
    for name, rank in (*term.above.items(), *term.below.items()):
        if name not in drawn:
            table.problem(f"'{name}' is no column with quantiles or shares")
        if not 0 < rank < 1:
            table.problem(f"'{name}'={rank}: expected a rank between 0 and 1")
    if not term.above and not term.below:
        table.problem("expected columns under above or below")
    return term
