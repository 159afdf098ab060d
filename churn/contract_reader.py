"""Reads typed values out of a TOML table and collects every problem instead of stopping at the first."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard, overload

from churn.errors import shown


class TableReader:
    """One table of the file. Keys that nobody asked for are problems too: they are mostly spelling mistakes."""

    def __init__(self, table: Mapping[str, Any], path: str = "", problems: list[str] | None = None) -> None:
        self._table = table
        self._path = path
        self._problems: list[str] = problems if problems is not None else []
        self._asked: set[str] = set()
        self._children: list[TableReader] = []

    def problem(self, message: str) -> None:
        """Note what is wrong, with the table's place in the file before it."""
        self._problems.append(f"{self._path}{'.' if self._path and message[0].islower() else ''}{message}")

    def finish(self) -> list[str]:
        """Every problem of this table and of those below it, unknown keys among them."""
        for key in self._table:
            if key not in self._asked:
                near = difflib.get_close_matches(key, self._asked, n=1)
                hint = f"; did you mean '{near[0]}'?" if near else f"; known here: {', '.join(sorted(self._asked))}"
                self._problems.append(f"{self._path or 'top level'}: unknown key '{key}'{hint}")
        for child in self._children:
            child.finish()
        return self._problems

    def has(self, key: str) -> bool:
        self._asked.add(key)
        return key in self._table

    def table(self, key: str, optional: bool = False) -> TableReader:
        """The table under a key; an empty one, and a problem, where it is not there."""
        value = self._get(key)
        if value is None and not optional:
            self.problem(f"{key}: missing; expected a table [{self._name(key)}]")
        elif value is not None and not isinstance(value, dict):
            self.problem(f"{key}={shown(value)}: expected a table [{self._name(key)}]")
            value = None
        return self._child(key, value or {})

    def tables(self, key: str) -> Iterator[tuple[str, TableReader]]:
        """The tables within the table under a key, with their names, in the file's order."""
        holder = self.table(key)
        for name, value in holder._table.items():
            holder._asked.add(name)
            if isinstance(value, dict):
                yield name, holder._child(name, value)
            else:
                holder.problem(f"{name}={shown(value)}: expected a table [{holder._name(name)}]")

    @overload
    def text(self, key: str, default: str = ...) -> str: ...
    @overload
    def text(self, key: str, *, optional: bool) -> str | None: ...
    def text(self, key: str, default: str | None = None, *, optional: bool = False) -> str | None:
        """Text that is not empty. Without a default and not optional, a missing one is a problem."""
        value = self._get(key)
        if value is None:
            if default is None and not optional:
                self.problem(f"{key}: missing; expected text")
                return ""
            return default
        if isinstance(value, str) and value:
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)  # a target's 0 and 1, as a CSV file spells them
        self.problem(f"{key}={shown(value)}: expected text that is not empty")
        return ""

    @overload
    def number(self, key: str, default: float, *, minimum: float = ..., maximum: float = ...) -> float: ...
    @overload
    def number(self, key: str, default: None, *, minimum: float = ..., maximum: float = ...) -> float | None: ...
    def number(
        self, key: str, default: float | None, *, minimum: float = -math.inf, maximum: float = math.inf
    ) -> float | None:
        """A finite number within its bounds, both included; the default, and a problem, when it is not."""
        value = self._get(key)
        if value is None:
            return default
        if not _is_number(value):
            self.problem(f"{key}={shown(value)}: expected a number")
            return default
        if not minimum <= value <= maximum:
            self.problem(f"{key}={value}: expected a number from {minimum:g} to {maximum:g}")
            return default
        return value

    def flag(self, key: str) -> bool:
        """true or false; false where the key is missing."""
        value = self._get(key)
        if value is not None and not isinstance(value, bool):
            self.problem(f"{key}={shown(value)}: expected true or false")
        return value is True

    def choice(self, key: str, choices: Sequence[str]) -> str:
        """One of the choices; the first, and a problem, when it is none."""
        value = self._get(key)
        if value not in choices:
            self.problem(f"{key}={shown(value)}: expected one of {', '.join(choices)}")
            return choices[0]
        return str(value)

    def words(self, key: str) -> tuple[str, ...]:
        """A list of texts; empty where the key is missing."""
        value = self._get(key)
        if value is None:
            return ()
        if isinstance(value, list) and all(isinstance(word, str) for word in value):
            return tuple(value)
        self.problem(f"{key}={shown(value)}: expected a list of texts")
        return ()

    def strings(self, key: str) -> dict[str, str]:
        """A table of text to text."""
        return {key: level for key, level in self.spellings(key).items() if isinstance(level, str)}

    def spellings(self, key: str) -> dict[str, str | bool]:
        """A table of text to text, or to true and false."""
        value = self._get(key)
        if value is None:
            return {}
        if isinstance(value, dict) and all(isinstance(entry, (str, bool)) for entry in value.values()):
            return dict(value)
        self.problem(f"{key}={shown(value)}: expected a table of texts")
        return {}

    def numbers(self, key: str) -> tuple[float, ...]:
        """A list of numbers; empty when absent."""
        value = self._get(key)
        if value is None:
            return ()
        if isinstance(value, list) and all(_is_number(entry) for entry in value):
            return tuple(value)
        self.problem(f"{key}={shown(value)}: expected a list of numbers")
        return ()

    def amounts(self, key: str) -> dict[str, float]:
        """A table of text to number; empty when absent."""
        value = self._get(key)
        if value is None:
            return {}
        if isinstance(value, dict) and all(_is_number(entry) for entry in value.values()):
            return dict(value)
        self.problem(f"{key}={shown(value)}: expected a table of numbers")
        return {}

    def rows(self, key: str) -> list[TableReader]:
        """A list of tables, [[key]] in the file; empty when absent."""
        value = self._get(key)
        if value is None:
            return []
        if isinstance(value, list) and all(isinstance(entry, dict) for entry in value):
            return [self._child(f"{key}[{index}]", entry) for index, entry in enumerate(value)]
        self.problem(f"{key}={shown(value)}: expected tables [[{self._name(key)}]]")
        return []

    def _get(self, key: str) -> Any:
        self._asked.add(key)
        return self._table.get(key)

    def _name(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else key

    def _child(self, key: str, table: Mapping[str, Any]) -> TableReader:
        child = TableReader(table, self._name(key), self._problems)
        self._children.append(child)
        return child


def _is_number(value: object) -> TypeGuard[int | float]:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond a float
        return False
