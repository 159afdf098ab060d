"""A use case's columns, read from contracts/*.toml: the only list of columns anywhere."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from churn.contract_reader import TableReader
from churn.errors import ContractError, shown
from churn.expectation import Expectation, read_expectation
from churn.feature import LARGEST_NUMBER as LARGEST_NUMBER
from churn.feature import Feature as Feature
from churn.feature import read_feature
from churn.positional import read_positional
from churn.transactions import SEGMENT, Transactions, read_transactions

LINE_AS_ID = "#line"
"""As `source.id`: the file names nobody, so a row is known by the line it stands on."""
PSEUDONYMISED = "customer_id"
"""The one field that names a person; features are what the model sees, so a pseudonym of them would be no use."""
LARGEST_CONTRACT = 1_000_000
DEEP_KEY = re.compile(r"""(?<![\w.-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){32}""")
CONTRACTS_FOLDER = Path(__file__).resolve().parent.parent / "contracts"


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
    """What a use case is: its columns, its target and what a decision is worth. Immutable; compare by `sha256`.

    `positional` is the order of a body of bare numbers (churn/positional.py): feature names, and 'feature=level' for
    a place of one level. `warnings` are what the domain expects of a file's rows. `transactions`, where the source is
    a file of them, says how its customers come out of it.
    """

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
    positional: tuple[str, ...]
    warnings: tuple[Expectation, ...]
    transactions: Transactions | None
    text: str = field(repr=False)
    sha256: str

    @property
    def hash(self) -> str:
        """The first 12 digits of `sha256`: what answers and records carry."""
        return self.sha256[:12]

    @cached_property
    def feature_names(self) -> tuple[str, ...]:
        """In the contract's order, which is that of the encoded columns."""
        return tuple(feature.name for feature in self.features)

    @cached_property
    def raw_columns(self) -> dict[str, str]:
        """Each feature's column name in the raw source."""
        sources = {name: raw for raw, name in self.renames.items()}
        return {name: sources.get(name, name) for name in self.feature_names}

    def label(self, churn: bool) -> str:
        """The contract's word for a decision."""
        return self.target.positive_label if churn else self.target.negative_label

    def feature(self, name: str) -> Feature:
        """The feature of this name. Raises StopIteration for a name that the contract does not have."""
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
    if len(text) > LARGEST_CONTRACT:
        raise ContractError(source, [f"{len(text):,} characters: expected at most {LARGEST_CONTRACT:,}"])
    if key := DEEP_KEY.search(text):  # tomllib's memory grows with the square of a key's parts: 200 kB would take all
        raise ContractError(source, [f"{shown(key[0])}: a key of so many parts; no contract has one"])
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # its own error is a ValueError; so is a number of 5,000 digits
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
    features = tuple(read_feature(name, table) for name, table in reader.tables("features"))
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
    pseudonymise = reader.words("pseudonymise")
    for field_name in pseudonymise:
        if field_name != PSEUDONYMISED:
            reader.problem(f"pseudonymise: '{field_name}' cannot be; only {PSEUDONYMISED} can; drop other names")
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
        pseudonymise=pseudonymise,
        positional=read_positional(reader, features),
        warnings=tuple(read_expectation(table, features) for table in reader.rows("warnings")),
        transactions=_read_transactions(source, features),
        text=text,
        sha256=sha256,
    )


def _read_transactions(source: TableReader, features: tuple[Feature, ...]) -> Transactions | None:
    """None where the source is a table of customers; else every feature must say what it measures."""
    transactions = read_transactions(source.table("transactions")) if source.has("transactions") else None
    names = tuple(segment.name for segment in transactions.segments) if transactions else ()
    for feature in features:
        if (feature.measure is None) != (transactions is None):
            source.problem(f"transactions: with it each feature has a measure, without it none; see '{feature.name}'")
        if feature.measure and feature.measure.name == SEGMENT and feature.levels != names:
            source.problem(f"transactions.segments: the levels of '{feature.name}' must be their names, in order")
    return transactions


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
