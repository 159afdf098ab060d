"""A guess as the text of a contract, every doubt in a comment beside what it is about."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable

from orchestration.infer.guess import Guess, Kept

WIDTH = 116
DECISION = """\
# What a decision is worth; figures of yours, please. docs/contracts.md explains them.
[decision]
offer_cost = 10     # for each customer contacted
kept_value = 100    # for each leaver who stays
success_rate = 0.3  # of the leavers contacted
capacity = 0.3      # at most this share of the customers can be contacted
# recall_target = 0.8  # or: find at least so many of the leavers
"""


def contract_text(guess: Guess, name: str) -> str:
    """The whole file."""
    table, title = guess.table, " ".join(name.replace("_", " ").split()).removesuffix(" churn")
    share = guess.target.levels[guess.positive] / table.rows
    opening = (
        f"A first contract for {table.source}, guessed from {table.rows:,} rows of {len(table.columns)} columns; "
        f"{share:.1%} left. Read what says DOUBT or LEAK, edit, and go: docs/tutorial-your-data.md."
    )
    head = [
        f"name = {quoted(name)}",
        f"title = {quoted(title.capitalize() + ' churn')}",
        "retention_days = 400",
        '# pseudonymise = ["customer_id"]  # where ids must not be kept as they are',
    ]
    return "\n".join(
        [
            _comments([opening, *guess.notes]),
            "".join(f"{line}\n" for line in head),
            _source(guess),
            DECISION,
            *(_feature(kept) for kept in guess.features),
        ]
    )


def quoted(text: str) -> str:
    """A basic string of TOML."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _source(guess: Guess) -> str:
    text = f"[source]\n{_comments(guess.id_notes)}id = {quoted(guess.id_column)}\n"
    if guess.missing:
        told = [f"{quoted(spelling)} in {', '.join(names)}" for spelling, names in guess.missing.items()]
        text += _comments([f"Taken for missing: {'; '.join(told)}."])
        text += f"missing = [{', '.join(quoted(spelling) for spelling in guess.missing)}]\n"
    if guess.dropped:
        dropped = [f"{_comments([reason], '    ')}    {quoted(name)},\n" for name, reason in guess.dropped]
        text += f"drop = [\n{''.join(dropped)}]\n"
    text += f"\n[source.target]\ncolumn = {quoted(guess.target.name)}\n{_comments(guess.target_notes)}"
    text += f"positive = {quoted(guess.positive)}\n"
    if guess.negative is not None:
        text += f"negative = {quoted(guess.negative)}\n"
    renamed = [kept for kept in guess.features if kept.name != kept.column.name]
    if renamed:
        text += "\n[source.rename]\n"
    return text + "".join(f"{_key(kept.column.name)} = {quoted(kept.name)}\n" for kept in renamed)


def _feature(kept: Kept) -> str:
    order = ("type", "levels", "minimum", "spellings", "required")
    entries = [f"{name} = {_value(kept.entries[name])}" for name in order if name in kept.entries]
    description = kept.column.name if kept.name != kept.column.name else kept.name.replace("_", " ")
    entries.append(f"description = {quoted(description)}")
    return "\n".join([*_comments(kept.notes).splitlines(), f"[features.{_key(kept.name)}]", *entries]) + "\n"


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else quoted(name)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{quoted(key)} = {_value(entry)}" for key, entry in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_value(entry) for entry in value) + "]"
    return quoted(value) if isinstance(value, str) else str(value)


def _comments(notes: Iterable[str], indent: str = "") -> str:
    lines = []
    for note in notes:
        plain = re.sub(r"[\x00-\x1f\x7f]", " ", note)
        lines += textwrap.wrap(plain, WIDTH - len(indent), break_long_words=False) or [""]
    return "".join(f"{indent}# {line}\n" for line in lines)
