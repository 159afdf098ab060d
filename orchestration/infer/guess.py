"""Decides what each column of a table is: the id, the target, a feature of which type, or one to leave out, and why."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from churn.contract import LINE_AS_ID
from churn.encoder import ENVELOPE
from churn.errors import DataError
from churn.positional import POSITIONAL_FIELD
from orchestration.infer.column import Column, Flags, separation
from orchestration.infer.levels import near_levels, same_levels
from orchestration.infer.sums import exact_sums
from orchestration.infer.table import Table, is_row_number, repeated_rows, rows_where, same_partition
from orchestration.validation import TARGET

LEAK_AUC, SUSPECT_AUC = 0.98, 0.9
"""A column that tells leavers so well by itself is left out, or kept and doubted."""
MOST_LEVELS = 50
LEVELS_KEPT = 30
COVERED_SHARE = 0.5
NUMBER_SHARE = 0.9
MOST_ODD_TEXTS = 20
FEW_NUMBERS = 10
NEARLY_ALL = 0.95
MOSTLY_MISSING = 0.6
WHO = "customer|client|user|member|account|acct|subscriber|cust"
CUSTOMER_NAME = re.compile(rf"({WHO})_*(id|no|num|number|code|key|ref)?$")
ID_ENDING = re.compile(r"(^|_)(id|uuid|guid|key|code|ref|no|nr|num|number)$")
ID_NAME = re.compile(rf"(^|_)(id|uuid|guid|key|code|ref|no|num|number)$|({WHO})")
"""Of names in lower case, with _ between words."""
POSITIVE = {"yes", "y", "true", "t", "1"}
POSITIVE_PARTS = ("churn", "attrit", "exit", "left", "leave", "lost", "cancel", "inactive", "gone")
TRUTH = {"yes": True, "y": True, "true": True, "t": True, "1": True}
TRUTH |= {"no": False, "n": False, "false": False, "f": False, "0": False}


@dataclass
class Kept:
    """A feature: its [features.NAME] entries as values of TOML, and notes for a person."""

    column: Column
    name: str
    entries: dict[str, object]
    notes: list[str] = field(default_factory=list)


@dataclass
class Guess:
    """All that a contract needs, with the reasons."""

    table: Table
    target: Column
    positive: str
    negative: str | None
    id_column: str
    features: list[Kept]
    dropped: list[tuple[str, str]]
    missing: dict[str, list[str]]
    notes: list[str]
    target_notes: list[str]
    id_notes: list[str]


def guess(table: Table, target_name: str, positive: str | None) -> Guess:
    """Raises DataError for a target that is not there, or that cannot be one."""
    target = table.column(target_name)
    chosen, negative, target_notes = _target(table, target, positive)
    leavers = rows_where(target, chosen)
    others = [column for column in table.columns if column is not target]
    identity, id_notes = _identity(others)
    dropped: list[tuple[str, str]] = []
    missing: dict[str, list[str]] = {}
    features: list[Kept] = []
    taken = {target.name, *ENVELOPE, POSITIONAL_FIELD, TARGET, *([identity] if identity != LINE_AS_ID else [])}
    left_out = dict(_copies(others)) | exact_sums([column for column in others if column.name != identity])
    for column in others:
        if column.name == identity:
            continue
        reason = left_out.get(column.name) or _reason_to_drop(column, leavers)
        if reason:
            dropped.append((column.name, reason))
            continue
        kept = Kept(column, _feature_name(column.name, taken), {})
        taken.add(kept.name)
        _describe(kept, missing)
        score = separation(column, leavers)
        if score >= SUSPECT_AUC:
            kept.notes.append(
                f"DOUBT: tells leavers from stayers with AUC {score:.3f} by itself. If it is only known after they "
                "left, it is a leak: move it to source.drop."
            )
        features.append(kept)
    if not features:
        raise DataError(f"{table.source}: no column is left to be a feature; a contract needs at least one")
    notes = _table_notes(table, others, identity)
    return Guess(table, target, chosen, negative, identity, features, dropped, missing, notes, target_notes, id_notes)


def _target(table: Table, target: Column, positive: str | None) -> tuple[str, str | None, list[str]]:
    levels = target.levels if target.distinct <= MOST_LEVELS else {}
    if len(levels) < 2:
        what = "one value only" if len(levels) == 1 else f"{target.distinct} different values"
        raise DataError(f"{table.source}: the target '{target.name}' has {what}; expected two, who left and who stayed")
    notes = []
    listed = ", ".join(f"'{level}' ({count:,})" for level, count in levels.items())
    if positive is None:
        if len(levels) > 2:
            raise DataError(f"{table.source}: '{target.name}' holds {listed}; say who left by --positive VALUE")
        spoken = [level for level in levels if level.lower() in POSITIVE]
        spoken = spoken or [level for level in levels if any(part in level.lower() for part in POSITIVE_PARTS)]
        positive = spoken[0] if len(spoken) == 1 else list(levels)[-1]
        why = "by its name" if len(spoken) == 1 else "since it is the rarer one"
        notes.append(f"Taken for the leavers {why}; wrong? Give --positive. The values: {listed}.")
    elif positive not in levels:
        raise DataError(f"{table.source}: '{target.name}' never holds '{positive}'; it holds {listed}")
    if target.missing:
        notes.append(f"{target.missing:,} rows have no target; an ingest sets them aside.")
    negative = next(level for level in levels if level != positive) if len(levels) == 2 else None
    return positive, negative, notes


def _identity(columns: Sequence[Column]) -> tuple[str, list[str]]:
    """The column that says whose row it is."""
    unique = [column for column in columns if column.is_unique and (column.is_whole or not column.is_number.any())]
    named = [column for column in unique if ID_NAME.search(_words(column.name))]
    named.sort(key=lambda column: not CUSTOMER_NAME.search(_words(column.name)))
    for column in [*named, *(column for column in unique if is_row_number(column))]:
        notes = ["Different in every row."]
        if is_row_number(column) and not CUSTOMER_NAME.search(_words(column.name)):
            notes = ["DOUBT: only the row's number tells rows apart; give the column of the customer if there is one."]
        return column.name, notes
    for column in columns:
        words = _words(column.name)
        nearly = bool(ID_ENDING.search(words)) and column.is_whole and column.distinct > NEARLY_ALL * column.rows
        if nearly or (CUSTOMER_NAME.search(words) and column.distinct > column.rows / 2):
            repeated = column.rows - column.distinct
            return column.name, [
                f"DOUBT: {repeated:,} rows repeat an id or have none. A model wants one row a customer; an ingest sets "
                "later ones aside, and fails beyond MAXIMUM_BAD_SHARE (5 %). Keep the row you want of each."
            ]
    return LINE_AS_ID, ["No column tells customers apart, so a row is known by its line in the file."]


def _copies(columns: Sequence[Column]) -> Iterator[tuple[str, str]]:
    for earlier, later in same_partition([column for column in columns if column.distinct > 1]):
        yield later.name, f"says the same as '{earlier.name}' in every row"


def _reason_to_drop(column: Column, leavers: Flags) -> str | None:
    if column.distinct == 0:
        return "empty"
    if column.distinct == 1 and not column.missing:
        return f"constant: '{next(iter(column.levels))}' in every row"
    if is_row_number(column):
        return "the row's number"
    if column.date_share > NUMBER_SHARE:
        return "dates: a model needs numbers, such as days before a cut-off; make such a column"
    words = _words(column.name)
    if column.distinct > max(MOST_LEVELS, column.present / 2) and (
        (column.is_whole and column.is_unique)
        or (ID_NAME.search(words) and (column.is_whole or not _is_number(column)))
    ):
        return f"looks like an id: {column.distinct:,} different values in {column.rows:,} rows"
    if not _is_number(column) and column.distinct > MOST_LEVELS:
        if column.decorated_share > NUMBER_SHARE:
            return "numbers with currency signs, per cent or thousands separators: write them plainly to use them"
        covered = sum(list(column.levels.values())[:LEVELS_KEPT]) / column.present
        if covered < COVERED_SHARE:
            return f"high cardinality: {column.distinct:,} different texts, such as names or free text"
    score = separation(column, leavers)
    if score >= LEAK_AUC and (_is_number(column) or column.distinct <= MOST_LEVELS):
        return f"LEAK? It tells leavers from stayers with AUC {score:.3f} by itself; is it known before they leave?"
    return None


def _describe(kept: Kept, missing: dict[str, list[str]]) -> None:
    column = kept.column
    if kept.name != column.name and re.search(r"\s\s|[^\w\s]", column.name):
        kept.notes.append(f"The column is called '{column.name}', with unusual blanks or signs.")
    if column.missing > MOSTLY_MISSING * column.rows:
        kept.notes.append(f"DOUBT: missing in {column.missing / column.rows:.0%} of the rows.")
    elif column.missing:
        kept.notes.append(f"Missing in {column.missing:,} rows ({column.missing / column.rows:.1%}).")
    for text in column.missing_texts:
        missing.setdefault(text, []).append(column.name)
    truth = _truth(column)
    if truth is not None:
        kept.entries |= {"type": "boolean"} | ({"spellings": truth} if truth else {})
    elif _is_number(column) and not (column.has_leading_zeros and column.distinct <= MOST_LEVELS):
        _describe_number(kept, missing)
    else:
        _describe_levels(kept)
    if kept.entries["type"] in ("number", "integer"):
        has_others = bool(column.no_numbers)
    else:
        has_others = column.distinct > MOST_LEVELS
    if not column.missing and not has_others:
        kept.entries["required"] = True


def _describe_number(kept: Kept, missing: dict[str, list[str]]) -> None:
    column = kept.column
    numbers = column.values[~np.isnan(column.values)]
    kept.entries["type"] = "integer" if column.is_whole else "number"
    if numbers.min() >= 0:
        kept.entries["minimum"] = 0
    kept.notes.append(
        f"Seen: {numbers.min():.10g} to {numbers.max():.10g}, half of them up to {np.median(numbers):.10g}."
    )
    if column.no_numbers:
        listed = ", ".join(f"'{text}' ({count:,})" for text, count in list(column.no_numbers.items())[:5])
        kept.notes.append(f"DOUBT: mixed types. Beside numbers it holds {listed}: taken for missing.")
        for text in column.no_numbers:
            missing.setdefault(text, []).append(column.name)
    if column.is_whole and column.distinct <= FEW_NUMBERS:
        kept.notes.append(f"Only {column.distinct} different numbers: if they are codes, make it a category.")


def _describe_levels(kept: Kept) -> None:
    column = kept.column
    if column.has_leading_zeros:
        kept.notes.append("Digits with leading zeros are taken for codes, not for numbers.")
    levels = dict(column.levels)
    if len(levels) > MOST_LEVELS:
        shown = dict(list(levels.items())[:LEVELS_KEPT])
        covered = sum(shown.values()) / column.present
        kept.notes.append(
            f"DOUBT: high cardinality. Of {len(levels):,} levels the {LEVELS_KEPT} most frequent are listed "
            f"({covered:.0%} of the rows); others count as unknown."
        )
        levels = shown
    same = same_levels(levels)
    for one in same:
        kept.notes.append(f"DOUBT: '{one.spelling}' is taken for '{one.level}': it {one.reason}.")
    spelled = {one.spelling: one.level for one in same}
    for first, second in near_levels(levels, set(spelled)):
        kept.notes.append(f"Are '{first}' and '{second}' one level? If so, put one under spellings.")
    kept.entries["levels"] = sorted(level for level in levels if level not in spelled)
    kept.entries["type"] = "category"
    if spelled:
        kept.entries["spellings"] = spelled
    if len(kept.entries["levels"]) < 2:  # type: ignore[arg-type]  # a list, just made
        kept.entries["levels"] = [*kept.entries["levels"], "other"]  # type: ignore[misc]
        kept.notes.append("DOUBT: one level only, else missing; 'other' stands for what may come.")


def _is_number(column: Column) -> bool:
    odd = column.distinct - int((column.is_number & ~column.is_missing).sum())
    return column.number_share >= NUMBER_SHARE and odd <= MOST_ODD_TEXTS


def _truth(column: Column) -> dict[str, bool] | None:
    """For a column of yes and no: its spellings that need saying. None for any other."""
    if column.distinct > 4 or column.distinct < 2:
        return None
    found = {text: TRUTH.get(text.lower()) for text in column.levels}
    if None in found.values() or len(set(found.values())) < 2:
        return None
    return {text: value is True for text, value in found.items() if text not in ("true", "false")}


def _feature_name(raw: str, taken: set[str]) -> str:
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", raw)
    name = re.sub(r"\W+", "_", split).strip("_").lower()
    name = re.sub(r"_+", "_", name) or "column"
    numbered = (f"{name}_{number}" for number in range(2, 10_000))
    return name if name not in taken else next(one for one in numbered if one not in taken)


def _words(name: str) -> str:
    return _feature_name(name, set())


def _table_notes(table: Table, others: Sequence[Column], identity: str) -> list[str]:
    notes = []
    if table.broken:
        notes.append(f"{table.broken:,} rows have another number of fields than the header; an ingest sets them aside.")
    compared = [c for c in table.columns if c.name != identity and not is_row_number(c)]
    repeated = repeated_rows(compared)
    if repeated:
        notes.append(f"DOUBT: {repeated:,} rows repeat an earlier row in all columns but the id.")
    odd = [column.name for column in table.columns if re.search(r"\s\s", column.name)]
    if odd:
        notes.append(f"Names with double blanks: {', '.join(repr(name) for name in odd)}.")
    return notes
