"""{"data": [numbers]} -> named fields, in the order that a contract's `positional` gives.

A place that names a feature holds its number: a number itself, 0 or 1 of a boolean, the index of an ordinal's or a
category's level. Places named 'feature=level' hold 1 for the customer's level and 0 for the others; all 0 is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from churn.contract_reader import TableReader
from churn.errors import FieldProblem, InvalidInput
from churn.feature import Feature

POSITIONAL_FIELD = "data"


def read_positional(reader: TableReader, features: Sequence[Feature]) -> tuple[str, ...]:
    """A contract's `positional`; empty when it has none. What is wrong with it goes to the reader's problems."""
    order = reader.words("positional")
    found = [_place(word, features) for word in order]
    for word, place in zip(order, found, strict=True):
        if place is None:
            reader.problem(f"positional: '{word}' is no feature, nor 'feature=level'")
    places = [place for place in found if place is not None]
    whole = [feature.name for feature, level in places if level is None]
    parted = {feature.name for feature, level in places if level is not None}
    if len(set(order)) != len(order) or len(set(whole)) != len(whole) or parted & set(whole):
        reader.problem("positional: something has two places")
    for feature in features:
        if order and feature.required and feature.name not in {*whole, *parted}:
            reader.problem(f"positional: '{feature.name}' is required and has no place")
        if order and feature.name == POSITIONAL_FIELD:
            reader.problem(f"positional: a feature is called '{POSITIONAL_FIELD}' as the body of numbers is; rename it")
    return order


class Positional:
    """Names the numbers of one contract's positional bodies. Immutable."""

    def __init__(self, order: Sequence[str], features: Sequence[Feature]) -> None:
        self.order = tuple(order)
        self._names = frozenset(feature.name for feature in features)
        places = [place for word in order if (place := _place(word, features)) is not None]
        self._whole = [(i, feature) for i, (feature, level) in enumerate(places) if level is None]
        self._parted: dict[str, list[tuple[int, str]]] = {}
        for i, (feature, level) in enumerate(places):
            if level is not None:
                self._parted.setdefault(feature.name, []).append((i, level))

    def named(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """The record with its numbers as named fields; a record without `data` as it is. Raises InvalidInput.

        Only how many numbers there are, that they are numbers, and the codes of levels are judged here; ranges are the
        encoder's business.
        """
        if POSITIONAL_FIELD not in fields:
            return fields
        data = self._checked(fields)
        problems: list[FieldProblem] = []
        named = {name: value for name, value in fields.items() if name != POSITIONAL_FIELD}
        for i, feature in self._whole:
            named[feature.name] = self._value(i, feature, data[i], problems)
        for name, places in self._parted.items():
            named[name] = self._level(name, places, data, problems)
        if problems:
            raise InvalidInput(problems)
        return named

    def _checked(self, fields: Mapping[str, Any]) -> Sequence[Any]:
        data, count = fields[POSITIONAL_FIELD], len(self.order)
        if type(data) is not list or len(data) != count:
            received = f"{len(data)} values" if type(data) is list else data
            expected = f"a list of {count} numbers: {', '.join(self.order)}"
            raise InvalidInput([FieldProblem(POSITIONAL_FIELD, received, expected)])
        both = sorted(self._names & fields.keys())
        if both:
            problem = FieldProblem(both[0], fields[both[0]], f"either named fields or '{POSITIONAL_FIELD}', not both")
            raise InvalidInput([problem])
        wrong = [
            FieldProblem(_at(i), value, f"a number: {self.order[i]}")
            for i, value in enumerate(data)
            if type(value) is not int and type(value) is not float
        ]
        if wrong:
            raise InvalidInput(wrong)
        return data

    def _value(self, i: int, feature: Feature, number: float, problems: list[FieldProblem]) -> Any:
        if feature.type != "category":
            return number
        if 0 <= number < len(feature.levels) and number == int(number):
            return feature.levels[int(number)]
        codes = ", ".join(f"{code} ({level})" for code, level in enumerate(feature.levels))
        problems.append(FieldProblem(_at(i), number, f"{feature.name} as one of {codes}"))
        return None

    def _level(
        self, name: str, places: Sequence[tuple[int, str]], data: Sequence[float], problems: list[FieldProblem]
    ) -> str | None:
        found = [level for i, level in places if data[i] == 1]
        if len(found) > 1 or any(data[i] not in (0, 1) for i, _ in places):
            first, last = places[0][0], places[-1][0]
            levels = ", ".join(level for _, level in places)
            problem = f"1 for the {name} of the customer and 0 for the others ({levels})"
            problems.append(FieldProblem(f"{_at(first)} to [{last}]", [data[i] for i, _ in places], problem))
        return found[0] if found else None


def _place(word: str, features: Sequence[Feature]) -> tuple[Feature, str | None] | None:
    """A word of the order: the feature it stands for, and the level if it stands for one."""
    for feature in features:
        if word == feature.name:
            return feature, None
        name, sign, level = word.partition("=")
        if sign and name == feature.name and level in feature.levels:
            return feature, level
    return None


def _at(i: int) -> str:
    return f"{POSITIONAL_FIELD}[{i}]"
