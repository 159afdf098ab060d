"""What a domain expects of a raw file's rows, as a contract's [[warnings]] say: told with figures, never enforced."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from churn.contract_reader import TableReader
from churn.feature import Feature


@dataclass(frozen=True, slots=True)
class Expectation:
    """`column` lies between `minimum` and `maximum` and, with `product`, about the product of those columns.

    "About" is within `tolerance`, a share of the product. A row in which a column is missing is not judged.
    """

    says: str
    column: str
    minimum: float = -math.inf
    maximum: float = math.inf
    product: tuple[str, ...] = ()
    tolerance: float = 0.0


def read_expectation(table: TableReader, features: Sequence[Feature]) -> Expectation:
    """One [[warnings]] table. What is wrong with it goes to the reader's problems."""
    numeric = [feature.name for feature in features if feature.is_numeric]
    minimum, maximum = table.number("minimum", None), table.number("maximum", None)
    expectation = Expectation(
        says=table.text("says"),
        column=table.text("column"),
        minimum=-math.inf if minimum is None else minimum,
        maximum=math.inf if maximum is None else maximum,
        product=table.words("product"),
        tolerance=table.number("tolerance", 0.0, minimum=0),
    )
    for name in (expectation.column, *expectation.product):
        if name and name not in numeric:
            table.problem(f"'{name}' is none of the features that are numbers: {', '.join(numeric)}")
    if minimum is None and maximum is None and not expectation.product:
        table.problem("expected minimum, maximum, or product with tolerance")
    return expectation
