"""Reads shifts from their specs: KIND[:ARGUMENT...][@START[-END]].

For example `mean_shift:total:1.0@500` from row 500 on, or `null_burst@30s-60s` between two times. Arguments left out,
or left empty, are chosen by the contract and the customers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pandas as pd

from churn.contract import Contract, Feature
from churn.errors import SettingError
from churn.prediction import Value
from simulation import shifts
from simulation.draw import plain
from simulation.shifts import Onset, Shift

NEW_LEVEL = "Newly introduced"


def parse_shift(spec: str, contract: Contract, frame: pd.DataFrame) -> Shift:
    """Read a spec. `frame` holds the customers it will be applied to: their spread and levels. Raises SettingError."""
    words = _Words(spec, contract, frame)
    if words.kind not in BUILDERS:
        raise words.wrong(f"one of {', '.join(BUILDERS)}")
    build, _ = BUILDERS[words.kind]
    shift = build(words)
    words.finish()
    return shift


def usages() -> list[str]:
    """One line a kind, for --help and the docs."""
    return [f"{kind}{usage}" for kind, (_, usage) in BUILDERS.items()]


class _Words:
    """The arguments of one spec, read one after the other against the contract and the customers."""

    def __init__(self, spec: str, contract: Contract, frame: pd.DataFrame) -> None:
        body, _, onset = spec.partition("@")
        self.kind, *self.words = body.split(":")
        self.spec, self.contract, self.frame = spec, contract, frame
        self.onset = self._onset(onset)

    def wrong(self, expected: str) -> SettingError:
        return SettingError("--shift", self.spec, expected)

    def common(self, *columns: Feature) -> dict[str, Any]:
        """What every shift has."""
        return {"spec": self.spec, "onset": self.onset, "columns": tuple(feature.name for feature in columns)}

    def column(self, fits: Callable[[Feature], bool], what: str, name: str | None = None) -> Feature:
        """The column named (by default by the next argument), or the first that fits.

        Rather an optional one than a required one, rather a number than another type.
        """
        fitting = [feature for feature in self.contract.features if fits(feature)]
        fitting.sort(key=lambda feature: (feature.required, feature.type != "number", feature.type != "integer"))
        if name is None:
            name = self.words.pop(0) if self.words else ""
        if not fitting:
            raise self.wrong(f"a contract with {what}; {self.contract.name} has none")
        if not name:
            return fitting[0]
        found = next((feature for feature in fitting if feature.name == name), None)
        if found is None:
            names = ", ".join(feature.name for feature in fitting)
            raise self.wrong(f"{what} in place of '{name}': {names}")
        return found

    def number(self, name: str, default: float, low: float, high: float) -> float:
        text = self.words.pop(0) if self.words else ""
        try:
            value = float(text) if text else default
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise self.wrong(f"{name} from {low:g} to {high:g} in place of '{text}'")
        return value

    def level(self, feature: Feature, text: str | None) -> Value:
        """A level by name; without one, the commonest among the customers."""
        levels: dict[str, Value] = (
            {"true": True, "false": False} if feature.type == "boolean" else {level: level for level in feature.levels}
        )
        if not text:
            values = [value for value in plain(self.frame, feature) if value is not None]
            return max(levels.values(), key=values.count)
        if text not in levels:
            raise self.wrong(f"a level of {feature.name} in place of '{text}': {', '.join(levels)}")
        return levels[text]

    def values(self, feature: Feature) -> tuple[Value, ...]:
        return tuple(plain(self.frame, feature))

    def deviation(self, feature: Feature) -> float:
        deviation = self.frame[feature.name].astype("float64").std()
        return float(deviation) if math.isfinite(deviation) else 0.0

    def most_tied(self) -> str:
        """The number whose ranks hang together most with those of another; empty when there are not two."""
        names = [feature.name for feature in self.contract.features if feature.is_numeric]
        ties = self.frame[names].astype("float64").rank().corr().abs().fillna(0.0)
        strongest = {name: float(ties[name].drop(name).max()) for name in names} if len(names) > 1 else {}
        return max(strongest, key=lambda name: strongest[name], default="")

    def finish(self) -> None:
        if self.words:
            raise self.wrong(f"no more arguments after {self.kind}: '{':'.join(self.words)}' is too many")

    def _onset(self, text: str) -> Onset:
        if not text:
            return Onset()
        start, dash, end = text.partition("-")
        unit = "seconds" if start.endswith("s") else "rows"
        try:
            numbers = [float(word.removesuffix("s")) for word in (start, end) if word]
        except ValueError:
            numbers = []
        mixed = bool(end) and end.endswith("s") != start.endswith("s")
        if mixed or len(numbers) != 1 + bool(dash) or not 0 <= numbers[0] < (numbers[1:] or [math.inf])[0]:
            raise self.wrong("an onset such as @500, @500-1000, @30s or @30s-60s")
        return Onset(numbers[0], numbers[1] if dash else math.inf, unit)


def _mean_shift(words: _Words) -> Shift:
    feature = words.column(_is_numeric, "a number")
    amount = words.number("standard deviations", 1.0, -100, 100) * words.deviation(feature)
    return shifts.MeanShift(**words.common(feature), feature=feature, amount=amount)


def _unit_change(words: _Words) -> Shift:
    feature = words.column(_is_numeric, "a number")
    return shifts.UnitChange(
        **words.common(feature), feature=feature, factor=words.number("a factor", 100.0, -1e9, 1e9)
    )


def _segment_only(words: _Words) -> Shift:
    feature = words.column(_is_numeric, "a number")
    amount = words.number("standard deviations", 1.0, -100, 100) * words.deviation(feature)
    name, _, text = (words.words.pop(0) if words.words else "").partition("=")
    segment = words.column(_has_levels, "a column with levels", name)
    level = words.level(segment, text)
    return shifts.SegmentOnly(
        **words.common(feature), feature=feature, amount=amount, segment=segment.name, level=level
    )


def _new_category(words: _Words) -> Shift:
    feature = words.column(lambda f: bool(f.levels) and not f.strict, "a category or ordinal that is not strict")
    return shifts.NewCategory(**words.common(feature), share=words.number("a share", 0.2, 0, 1), value=NEW_LEVEL)


def _null_burst(words: _Words) -> Shift:
    feature = words.column(lambda f: not f.required, "a feature that is not required")
    return shifts.NullBurst(**words.common(feature), share=words.number("a share", 0.3, 0, 1), value=None)


def _category_move(words: _Words) -> Shift:
    feature = words.column(_has_levels, "a column with levels")
    level = words.level(feature, words.words.pop(0) if words.words else None)
    points = words.number("points", 0.1, 0, 1)
    values = words.values(feature)
    others = 1 - values.count(level) / max(len(values), 1)
    if points > others:
        raise words.wrong(f"at most {others:.2f} points; {feature.name} is '{level}' in all other records already")
    return shifts.CategoryMove(**words.common(feature), share=points / others, value=level)


def _upstream_freeze(words: _Words) -> Shift:
    feature = words.column(lambda f: True, "a feature")
    value = next((value for value in words.values(feature) if value is not None), None)
    if value is None:
        raise words.wrong(f"a column with values; {feature.name} has none among these customers")
    return shifts.UpstreamFreeze(**words.common(feature), share=1.0, value=value)


def _decouple(words: _Words) -> Shift:
    feature = words.column(lambda f: True, "a feature", None if words.words else words.most_tied())
    return shifts.Decouple(**words.common(feature), pool=words.values(feature))


def _concept_drift(words: _Words) -> Shift:
    return shifts.ConceptDrift(**words.common(), share=words.number("a share", 0.1, 0, 1))


def _label_delay(words: _Words) -> Shift:
    return shifts.LabelDelay(**words.common(), seconds=words.number("seconds", 60.0, 0, 1e9))


def _is_numeric(feature: Feature) -> bool:
    return feature.is_numeric


def _has_levels(feature: Feature) -> bool:
    return not feature.is_numeric


BUILDERS: dict[str, tuple[Callable[[_Words], Shift], str]] = {
    "mean_shift": (_mean_shift, "[:COLUMN[:SD]]  SD standard deviations (1.0) are added to a number"),
    "unit_change": (_unit_change, "[:COLUMN[:FACTOR]]  a number is multiplied by FACTOR (100)"),
    "segment_only": (
        _segment_only,
        "[:COLUMN[:SD[:SEGMENT=LEVEL]]]  a mean shift (1.0) for the customers of one level only",
    ),
    "new_category": (_new_category, "[:COLUMN[:SHARE]]  a share (0.2) carries a level that the contract does not list"),
    "null_burst": (_null_burst, "[:COLUMN[:SHARE]]  a share (0.3) lacks a feature that is not required"),
    "category_move": (_category_move, "[:COLUMN[:LEVEL[:POINTS]]]  the share of a level grows by POINTS (0.1)"),
    "upstream_freeze": (_upstream_freeze, "[:COLUMN]  every record repeats the same value"),
    "decouple": (_decouple, "[:COLUMN]  values are swapped between customers: only the joint distribution changes"),
    "concept_drift": (_concept_drift, "[:SHARE]  the truth of a share (0.1) turns; features stay"),
    "label_delay": (_label_delay, "[:SECONDS]  labels come SECONDS (60) later"),
}
