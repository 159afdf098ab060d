"""Fields or frames -> float32 rows, by one code path: training, HTTP, stream and report encode alike, bit for bit.

A number, an ordinal (its index) and a boolean (0, 1) take one column each, NaN when missing. A category takes one
column a level (1 for its own, 0 for the others), all 0 when missing or unknown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from churn.contract import LARGEST_NUMBER, Contract, Feature
from churn.errors import FieldProblem, InvalidInput
from churn.prediction import Value

ENVELOPE = ("customer_id", "event_id", "event_time")
"""Fields that say whose and when a record is. They are not features and not counted as ignored."""

NAN = math.nan
State = Literal["ok", "missing", "unknown", "wrong"]
Converted = tuple[Value, tuple[float, ...]]
"""A cleaned value and its encoded columns. The value is None when it was missing or of an unknown level."""


class Cleaned(NamedTuple):
    """One record that fits its contract: the features as logged, and the same encoded as `row` (width floats)."""

    features: dict[str, Value]
    missing: tuple[str, ...]
    unknown: tuple[str, ...]
    ignored: int
    row: Sequence[float]


class _Unknown(Exception):
    """A level that the contract does not list."""


class _Wrong(Exception):
    """A value that can never be right for its feature."""


class Encoder:
    """Encodes records of one contract. Immutable after construction and safe to share between threads."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self.columns: tuple[str, ...] = tuple(
            column for feature in contract.features for column in encoded_columns(feature)
        )
        self.width = len(self.columns)
        self._plan = [
            (feature.name, _converter(feature, contract.missing_spellings), _blank(feature), feature)
            for feature in contract.features
        ]
        self.known_fields = frozenset({*contract.feature_names, *ENVELOPE, contract.id_column})

    def clean(self, fields: Mapping[str, Any]) -> Cleaned:
        """Check and encode one record. Raises InvalidInput with every wrong field, in the contract's order."""
        features: dict[str, Value] = {}
        missing: list[str] = []
        unknown: list[str] = []
        problems: list[FieldProblem] = []
        row: list[float] = []
        get = fields.get
        for name, convert, blank, feature in self._plan:
            raw = get(name)
            value: Value = None
            columns = blank
            if raw is not None:
                try:
                    value, columns = convert(raw)
                except _Unknown:
                    if feature.strict:
                        problems.append(FieldProblem(name, raw, feature.expected))
                    unknown.append(name)
                    features[name] = None
                    row.extend(blank)
                    continue
                except _Wrong:
                    problems.append(FieldProblem(name, raw, feature.expected))
                    continue
            if value is None:
                if feature.required:
                    problems.append(FieldProblem(name, raw, f"{feature.expected}; it is required"))
                missing.append(name)
            features[name] = value
            row.extend(columns)
        if problems:
            raise InvalidInput(problems)
        return Cleaned(features, tuple(missing), tuple(unknown), self._count_ignored(fields), row)

    def convert(self, name: str, raw: Any) -> tuple[Value, State]:
        """One field as `clean` would take it: its cleaned value (None unless ok), and what it was."""
        _, convert, _, _ = next(step for step in self._plan if step[0] == name)
        try:
            value = None if raw is None else convert(raw)[0]
        except _Unknown:
            return None, "unknown"
        except _Wrong:
            return None, "wrong"
        return value, "missing" if value is None else "ok"

    def matrix(self, records: Sequence[Cleaned]) -> NDArray[np.float32]:
        """The rows of cleaned records as one array of shape (records, width)."""
        return np.array([record.row for record in records], dtype=np.float32).reshape(len(records), self.width)

    def encode_frame(self, frame: Any) -> NDArray[np.float32]:
        """Encode a pandas frame of cleaned features, shape (rows, width), through the converters of `clean`.

        A column that is absent counts as missing. Raises InvalidInput for the first wrong value of each column.
        """
        blocks = []
        problems: list[FieldProblem] = []
        for name, convert, blank, feature in self._plan:
            rows: list[tuple[float, ...]] = []
            for raw in _column(frame, name):
                try:
                    rows.append(blank if raw is None else convert(raw)[1])
                except _Unknown:
                    rows.append(blank)
                except _Wrong:
                    problems.append(FieldProblem(name, raw, feature.expected))
                    break
            blocks.append((rows, len(blank)))
        if problems:
            raise InvalidInput(problems)
        arrays = [np.array(rows, dtype=np.float32).reshape(len(frame), width) for rows, width in blocks]
        return np.concatenate(arrays, axis=1)

    def layout(self) -> dict[str, Any]:
        """What `encoder.json` in a bundle holds: enough for another language to encode alike."""
        return {
            "version": 1,
            "contract_sha256": self.contract.sha256,
            "width": self.width,
            "columns": list(self.columns),
            "features": [
                {"name": f.name, "type": f.type, "levels": list(f.levels), "columns": list(encoded_columns(f))}
                for f in self.contract.features
            ],
        }

    def _count_ignored(self, fields: Mapping[str, Any]) -> int:
        return len(fields.keys() - self.known_fields)


def encoded_columns(feature: Feature) -> tuple[str, ...]:
    """The names of the encoded columns of a feature, in order."""
    if feature.type == "category":
        return tuple(f"{feature.name}={level}" for level in feature.levels)
    return (feature.name,)


def _blank(feature: Feature) -> tuple[float, ...]:
    return (0.0,) * len(feature.levels) if feature.type == "category" else (NAN,)


def _column(frame: Any, name: str) -> list[Any]:
    if name not in frame:
        return [None] * len(frame)
    column = frame[name].astype(object)
    return list(column.where(column.notna(), None))


def _converter(feature: Feature, missing: frozenset[str]) -> Callable[[Any], Converted]:
    if feature.is_numeric:
        return _number(feature, missing)
    if feature.type == "boolean":
        return _boolean(feature, missing)
    return _level(feature, missing)


def _number(feature: Feature, missing: frozenset[str]) -> Callable[[Any], Converted]:
    low = -LARGEST_NUMBER if feature.minimum is None else feature.minimum
    high = LARGEST_NUMBER if feature.maximum is None else feature.maximum
    whole = feature.type == "integer"
    if whole:  # stores and other languages hold whole numbers in 8 bytes
        low, high = max(low, -(2**63)), min(high, 2**63 - 1)

    def convert(raw: Any) -> Converted:
        kind = type(raw)
        if kind is int or kind is float:
            if low <= raw <= high:  # false for NaN as well
                if whole and kind is float:
                    if raw != int(raw):
                        raise _Wrong
                    raw = int(raw)
                return raw, (float(raw),)
        elif kind is str and raw.strip() in missing:
            return None, (NAN,)
        raise _Wrong

    return convert


def _boolean(feature: Feature, missing: frozenset[str]) -> Callable[[Any], Converted]:
    spelled = {"true": True, "false": False, **{text: value is True for text, value in feature.spellings.items()}}

    def convert(raw: Any) -> Converted:
        kind = type(raw)
        if kind is bool or ((kind is int or kind is float) and raw in (0, 1)):
            return bool(raw), (float(bool(raw)),)  # -0.0 is false, encoded as 0.0
        if kind is str:
            text = raw.strip()
            value = spelled.get(text)
            if value is not None:
                return value, (float(value),)
            if text in missing:
                return None, (NAN,)
        raise _Wrong

    return convert


def _level(feature: Feature, missing: frozenset[str]) -> Callable[[Any], Converted]:
    ordered = feature.type == "ordinal"
    count = len(feature.levels)
    codes = [(float(i),) if ordered else tuple(float(i == j) for j in range(count)) for i in range(count)]
    known: dict[str, Converted] = {level: (level, codes[i]) for i, level in enumerate(feature.levels)}
    for spelling, level in feature.spellings.items():
        known[spelling] = known[str(level)]

    def convert(raw: Any) -> Converted:
        kind = type(raw)
        if kind is str:
            found = known.get(raw) or known.get(raw.strip())
            if found is not None:
                return found
            if raw.strip() in missing:
                return None, _blank(feature)
            raise _Unknown
        if ordered and (kind is int or kind is float) and 0 <= raw < count and raw == int(raw):
            return feature.levels[int(raw)], codes[int(raw)]
        raise _Wrong

    return convert


def frame_records(frame: Any, names: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of a pandas frame as plain records: Python numbers and texts, None where missing or absent."""
    columns = [_column(frame, name) for name in names]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
