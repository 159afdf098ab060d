"""pandera's home: a contract's schema, and what is wrong with each row of a cleaned frame."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaErrors

from churn.contract import LARGEST_NUMBER, Contract, Feature
from churn.errors import FieldProblem

CUSTOMER = "customer_id"
TARGET = "churned"
LONGEST_ID = 200
Problems = dict[int, list[FieldProblem]]
"""By row position: every wrong field of that row."""


def schema(contract: Contract, seen: Callable[[str], bool]) -> pa.DataFrameSchema:
    """What a cleaned frame must be: ids new and unique, a target in every row, features as the contract says.

    `seen` tells whether an id stood in an earlier part of the file.
    """
    columns = {
        CUSTOMER: pa.Column(
            object,
            [
                pa.Check(lambda ids: ids.str.len().between(1, LONGEST_ID), name="length"),
                pa.Check(lambda ids: ~(ids.duplicated() | ids.map(seen)), name="unique"),
            ],
        ),
        **{feature.name: _column(feature) for feature in contract.features},
        TARGET: pa.Column(object, pa.Check.isin([True, False])),
    }
    return pa.DataFrameSchema(columns, strict=True, ordered=True)


def find_problems(frame: pd.DataFrame, contract: Contract, seen: Callable[[str], bool]) -> Problems:
    """Validate every row, not only up to the first wrong one. The frame's index must be its row positions."""
    try:
        schema(contract, seen).validate(frame, lazy=True)
    except SchemaErrors as errors:
        return _by_row(errors.failure_cases, contract)
    return {}


def _column(feature: Feature) -> pa.Column:
    nullable = not feature.required
    if feature.is_numeric:
        low = -LARGEST_NUMBER if feature.minimum is None else feature.minimum
        high = LARGEST_NUMBER if feature.maximum is None else feature.maximum
        checks = [pa.Check.in_range(low, high)]
        if feature.type == "integer":
            checks.append(pa.Check(lambda numbers: numbers == np.floor(numbers), name="whole"))
        return pa.Column("float64", checks, nullable=nullable)
    if feature.type == "boolean":
        return pa.Column(object, pa.Check.isin([True, False]), nullable=nullable)
    if feature.strict:
        return pa.Column(object, pa.Check.isin(list(feature.levels)), nullable=nullable)
    # A level that is not listed is unknown, also where one is required: as a request is taken, so is a row.
    return pa.Column(
        object,
        pa.Check(lambda levels: levels.map(lambda level: isinstance(level, str)), name="text"),
        nullable=nullable,
    )


def _by_row(failures: pd.DataFrame, contract: Contract) -> Problems:
    expected = {
        CUSTOMER: f"text of 1 to {LONGEST_ID} characters, each customer once",
        TARGET: "one of the target's values",
        **{f.name: f.expected + ("; it is required" if f.required else "") for f in contract.features},
    }
    named = {CUSTOMER: contract.id_column, TARGET: contract.target.column}
    problems: Problems = {}
    without_row = failures[failures["index"].isna()]
    if len(without_row):  # a column that is absent or of another type: our own cleaning is wrong, not the data
        raise AssertionError(without_row[["column", "check", "failure_case"]].to_string(index=False))
    for column, value, row in failures[["column", "failure_case", "index"]].drop_duplicates().itertuples(index=False):
        known = problems.setdefault(int(row), [])
        name = named.get(column, column)
        if all(problem.field != name for problem in known):
            known.append(FieldProblem(name, None if pd.isna(value) else value, expected[column]))
    return problems
