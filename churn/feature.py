"""Feature: one input of a model, as a contract describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from churn.contract_reader import TableReader
from churn.transactions import Measure, read_measure

FeatureType = Literal["number", "integer", "ordinal", "category", "boolean"]
FEATURE_TYPES: tuple[str, ...] = get_args(FeatureType)
NUMERIC_TYPES = ("number", "integer")
LARGEST_NUMBER = 3.0e38
"""Encoded rows are float32: a number beyond this would become infinite."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One input of the model. `minimum` and `maximum` are inclusive; `levels` are ordered for an ordinal.

    `spellings` maps what a source writes to a level (or to true and false). An unknown level counts as missing
    unless `strict`. `measure` says how it comes out of transactions, where the source is a file of them.
    """

    name: str
    type: FeatureType
    description: str = ""
    unit: str | None = None
    required: bool = False
    strict: bool = False
    minimum: float | None = None
    maximum: float | None = None
    levels: tuple[str, ...] = ()
    spellings: Mapping[str, str | bool] = field(default_factory=dict)
    measure: Measure | None = None

    @property
    def is_numeric(self) -> bool:
        """Whether its values are numbers with an order and a distance."""
        return self.type in NUMERIC_TYPES

    @property
    def expected(self) -> str:
        """What a correct value is, in words, for an error message or a form."""
        if self.is_numeric:
            noun = "a whole number" if self.type == "integer" else "a number"
            unit = f" ({self.unit})" if self.unit else ""
            return f"{noun}{_range(self.minimum, self.maximum)}{unit}"
        if self.type == "boolean":
            return "true or false"
        listed = ", ".join(f"'{level}'" for level in self.levels)
        index = f", or their index 0 to {len(self.levels) - 1}" if self.type == "ordinal" else ""
        return f"one of {listed}{index}"


def read_feature(name: str, table: TableReader) -> Feature:
    """One [features.NAME] table. What is wrong with it goes to the reader's problems."""
    kind = table.choice("type", FEATURE_TYPES)
    minimum, maximum = table.number("minimum", None), table.number("maximum", None)
    levels = table.words("levels")
    article = "an" if kind[0] in "aeiou" else "a"
    if kind in NUMERIC_TYPES:
        if levels:
            table.problem(f"levels: {article} {kind} has none; give minimum and maximum, or make it a category")
        if minimum is not None and maximum is not None and minimum > maximum:
            table.problem(f"minimum={minimum:g} is above maximum={maximum:g}")
    else:
        if minimum is not None or maximum is not None:
            table.problem(f"minimum and maximum do not fit {article} {kind}")
        if kind != "boolean" and len(set(levels)) < 2:
            table.problem(f"levels={list(levels)}: {article} {kind} needs at least two different levels")
        if len(set(levels)) != len(levels):
            table.problem(f"levels={list(levels)}: a level stands there twice")
    spellings = table.spellings("spellings")
    targets: set[str | bool] = {True, False} if kind == "boolean" else set(levels)
    for spelling, level in spellings.items():
        if level not in targets:
            table.problem(f"spellings: '{spelling}' leads to {level!r}, which is none of its levels")
    return Feature(
        name=name,
        type=kind,  # type: ignore[arg-type]  # `choice` has checked it
        description=table.text("description", ""),
        unit=table.text("unit", optional=True),
        required=table.flag("required"),
        strict=table.flag("strict"),
        minimum=minimum,
        maximum=maximum,
        levels=levels,
        spellings=spellings,
        measure=read_measure(table),
    )


def _range(minimum: float | None, maximum: float | None) -> str:
    if minimum is not None and maximum is not None:
        return f" from {minimum:.10g} to {maximum:.10g}"
    if minimum is not None:
        return f", {minimum:.10g} or more"
    return f", {maximum:.10g} or less" if maximum is not None else ""
