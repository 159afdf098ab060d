"""A use case's columns, read from contracts/*.toml: the only list of columns anywhere."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

from churn.contract_reader import TableReader
from churn.errors import ContractError

FeatureType = Literal["number", "integer", "ordinal", "category", "boolean"]
FEATURE_TYPES: tuple[str, ...] = get_args(FeatureType)
NUMERIC_TYPES = ("number", "integer")
CONTRACTS_FOLDER = Path(__file__).resolve().parent.parent / "contracts"
LARGEST_NUMBER = 3.0e38
"""Encoded rows are float32: a number beyond this would become infinite."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One input of the model. `minimum` and `maximum` are inclusive; `levels` are ordered for an ordinal.

    `spellings` maps what a source writes to a level (or to true and false). An unknown level counts as missing
    unless `strict`.
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

    @property
    def is_numeric(self) -> bool:
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


@dataclass(frozen=True, slots=True)
class Target:
    """The column that says who left, in the raw source. With `negative` set, any other value is a bad row."""

    column: str
    positive: str
    negative: str | None = None
    positive_label: str = "churn"
    negative_label: str = "stay"


@dataclass(frozen=True, slots=True)
class Decision:
    """What the threshold is chosen by: a recall to reach, or the money at stake.

    Money is in `currency` a customer: `offer_cost` for each one contacted, `kept_value` for each who would have
    left and stays, which `success_rate` of the contacted do. `capacity` is the largest share that can be contacted.
    """

    offer_cost: float = 10.0
    kept_value: float = 100.0
    success_rate: float = 0.3
    capacity: float = 1.0
    currency: str = "USD"
    recall_target: float | None = None

    def profit(self, contacted_leavers: float, contacted_stayers: float) -> float:
        """Expected gain over contacting nobody, in `currency`."""
        return contacted_leavers * (self.success_rate * self.kept_value) - self.offer_cost * (
            contacted_leavers + contacted_stayers
        )


@dataclass(frozen=True)
class Contract:
    """What a use case is: its columns, its target and what a decision is worth. Immutable; compare by `sha256`."""

    name: str
    title: str
    id_column: str
    target: Target
    features: tuple[Feature, ...]
    decision: Decision
    renames: Mapping[str, str]
    drop: tuple[str, ...]
    missing_spellings: frozenset[str]
    retention_days: int
    pseudonymise: tuple[str, ...]
    text: str = field(repr=False)
    sha256: str

    @property
    def hash(self) -> str:
        """The first 12 digits of `sha256`: what answers and records carry."""
        return self.sha256[:12]

    @cached_property
    def feature_names(self) -> tuple[str, ...]:
        return tuple(feature.name for feature in self.features)

    @cached_property
    def raw_columns(self) -> dict[str, str]:
        """Each feature's column name in the raw source."""
        sources = {name: raw for raw, name in self.renames.items()}
        return {name: sources.get(name, name) for name in self.feature_names}

    def feature(self, name: str) -> Feature:
        return next(feature for feature in self.features if feature.name == name)


def load_contract(name_or_path: str | Path, folder: Path = CONTRACTS_FOLDER) -> Contract:
    """Read `contracts/NAME.toml`, or a path that ends in .toml. Raises ContractError naming every problem."""
    path = Path(name_or_path) if str(name_or_path).endswith(".toml") else folder / f"{name_or_path}.toml"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        known = ", ".join(sorted(file.stem for file in folder.glob("*.toml"))) or "none"
        raise ContractError(
            str(name_or_path), [f"no such contract; known: {known}; or give the path of a .toml file"]
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ContractError(str(path), [f"cannot be read: {error}"]) from error
    return parse_contract(text, source=path.name)


def parse_contract(text: str, source: str = "contract.toml") -> Contract:
    """Read a contract from TOML text. Raises ContractError naming every problem, `source` before them."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ContractError(source, [f"not valid TOML: {error}"]) from error
    reader = TableReader(document)
    contract = _read(reader, text, _digest(document))
    problems = reader.finish()
    if problems:
        raise ContractError(source, problems)
    return contract


def _digest(document: Mapping[str, object]) -> str:
    """By meaning, not by spelling: comments and white space do not change it; the order of features does."""
    canonical = json.dumps(document, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _read(reader: TableReader, text: str, sha256: str) -> Contract:
    source = reader.table("source")
    features = tuple(_read_feature(name, table) for name, table in reader.tables("features"))
    if not features:
        reader.problem("features: expected at least one [features.NAME] table")
    renames = source.strings("rename")
    drop = source.words("drop")
    names = {feature.name for feature in features}
    for raw, name in renames.items():
        if name not in names:
            reader.problem(f"source.rename: '{raw}' leads to '{name}', which is no feature")
    for name in sorted(names & set(drop)):
        reader.problem(f"source.drop: '{name}' is a feature too; remove one of the two")
    name = reader.text("name")
    if name and not name.replace("_", "").isalnum():
        reader.problem(f"name='{name}': expected letters, digits and _ only (it names buckets' folders and models)")
    target = _read_target(source.table("target"))
    id_column = source.text("id")
    for column, role in ((target.column, "source.target.column"), (id_column, "source.id")):
        if column and column in names | set(renames):
            reader.problem(f"{role}='{column}': it is a feature too; a model must not see it")
    return Contract(
        name=name,
        title=reader.text("title"),
        id_column=id_column,
        target=target,
        features=features,
        decision=_read_decision(reader.table("decision", optional=True)),
        renames=renames,
        drop=drop,
        missing_spellings=frozenset(source.words("missing")) | {""},
        retention_days=int(reader.number("retention_days", 400, minimum=1)),
        pseudonymise=reader.words("pseudonymise"),
        text=text,
        sha256=sha256,
    )


def _read_target(table: TableReader) -> Target:
    labels = table.table("labels", optional=True)
    return Target(
        column=table.text("column"),
        positive=table.text("positive"),
        negative=table.text("negative", optional=True),
        positive_label=labels.text("positive", "churn"),
        negative_label=labels.text("negative", "stay"),
    )


def _read_decision(table: TableReader) -> Decision:
    default = Decision()
    return Decision(
        offer_cost=table.number("offer_cost", default.offer_cost, minimum=0),
        kept_value=table.number("kept_value", default.kept_value, minimum=0),
        success_rate=table.number("success_rate", default.success_rate, minimum=0, maximum=1),
        capacity=table.number("capacity", default.capacity, minimum=0, maximum=1),
        currency=table.text("currency", default.currency),
        recall_target=table.number("recall_target", None, minimum=0, maximum=1),
    )


def _read_feature(name: str, table: TableReader) -> Feature:
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
    )


def _range(minimum: float | None, maximum: float | None) -> str:
    if minimum is not None and maximum is not None:
        return f" from {minimum:.10g} to {maximum:.10g}"
    if minimum is not None:
        return f", {minimum:.10g} or more"
    return f", {maximum:.10g} or less" if maximum is not None else ""
