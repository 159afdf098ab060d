"""Mergeable counts of predictions on the reference's bins: constant cost a prediction, exact in totals.

A column's cells are its values' cells, then three more: missing (None, NaN), unknown (a level the contract does not
list) and invalid (a value that cannot be the column's: infinite, text where a number belongs). Numbers lie in cells
cut at the reference's quantiles, with one open cell below the reference's smallest value and one above its largest.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from churn.contract import Contract, Feature
from churn.prediction import Prediction

if TYPE_CHECKING:
    import pandas

ColumnKind = Literal["number", "ordinal", "category", "boolean", "score", "class"]
Counts = NDArray[np.int64]

SCORE = "churn_probability"
CLASS = "churn"
QUANTILE_CELLS = 20
"""A number's cells inside the reference's range: a test loses little by them, and a time series each is affordable."""
INTEGER_SPAN = 32
"""Whole numbers that span at most so many values get one cell a value."""
MISSING, UNKNOWN, INVALID = -3, -2, -1
"""Where a column's last three cells stand in its counts."""
EXTRA_CELLS = 3
PROFILE_VERSION = 1


@dataclass(frozen=True, slots=True)
class Column:
    """One column's cells. A number has `edges`: cell i holds edges[i-1] <= value < edges[i]; others have `levels`."""

    name: str
    kind: ColumnKind
    edges: tuple[float, ...] = ()
    levels: tuple[str | bool, ...] = ()

    @property
    def is_numeric(self) -> bool:
        """Whether its cells are intervals between edges, rather than levels."""
        return self.kind in ("number", "score")

    @property
    def values(self) -> int:
        """How many cells hold values: all but missing, unknown and invalid."""
        return len(self.edges) + 1 if self.is_numeric else len(self.levels)

    @property
    def cells(self) -> int:
        """How many cells there are in all: those of values, then missing, unknown and invalid."""
        return self.values + EXTRA_CELLS

    def labels(self) -> list[str]:
        """A short name for each cell, in order: for charts and for the label `bin` of a metric."""
        return [*self._value_labels(), "missing", "unknown", "invalid"]

    def _value_labels(self) -> list[str]:
        if not self.is_numeric:
            return [str(level).lower() if isinstance(level, bool) else level for level in self.levels]
        if not self.edges:
            return ["any"]
        inner = [f"{a:.6g}" if b == _above(a) else f"{a:.6g}..{b:.6g}" for a, b in pairwise(self.edges)]
        return [f"<{self.edges[0]:.6g}", *inner, f">{self.edges[-1]:.6g}"]


class Histograms:
    """Counts of every column of a layout, with the smallest and largest number seen. Not thread-safe.

    `+` merges two of the same layout; the order in which predictions or parts come changes nothing.
    """

    def __init__(self, layout: tuple[Column, ...]) -> None:
        self.layout = layout
        self.rows = 0
        self.counts: dict[str, Counts] = {column.name: np.zeros(column.cells, np.int64) for column in layout}
        self.ranges: dict[str, tuple[float, float]] = {}
        self._features = [column for column in layout if column.kind not in ("score", "class")]
        self._scores = [column for column in layout if column.kind == "score"]
        self._classes = [column for column in layout if column.kind == "class"]

    def update(self, predictions: Sequence[Prediction]) -> None:
        """Count a batch. In batches of 100 or more a prediction of 20 columns costs a few microseconds."""
        if not predictions:
            return
        features = [prediction.features for prediction in predictions]
        unknown = Counter(chain.from_iterable(map(attrgetter("unknown"), predictions)))
        for column, values in zip(self._features, _transposed(features, self._features), strict=True):
            self._count(column, values, unknown[column.name])
        for column in self._scores:
            self._count(column, [prediction.churn_probability for prediction in predictions])
        for column in self._classes:
            self._count(column, [prediction.churn for prediction in predictions])
        self.rows += len(predictions)

    def update_frame(self, frame: pandas.DataFrame) -> None:
        """Count the rows of a frame with the layout's columns; one that is absent counts as missing."""
        for column in self.layout:
            self._count(column, _frame_values(frame, column.name))
        self.rows += len(frame)

    def __add__(self, other: Histograms) -> Histograms:
        if self.layout != other.layout:
            raise ValueError("histograms of different layouts cannot be merged: they belong to different bundles")
        merged = Histograms(self.layout)
        merged.rows = self.rows + other.rows
        merged.counts = {name: counts + other.counts[name] for name, counts in self.counts.items()}
        for name, low, high in [(n, *r) for part in (self, other) for n, r in part.ranges.items()]:
            merged._widen(name, low, high)
        return merged

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Histograms)
            and self.layout == other.layout
            and self.rows == other.rows
            and self.ranges == other.ranges
            and all(np.array_equal(counts, other.counts[name]) for name, counts in self.counts.items())
        )

    __hash__ = None  # type: ignore[assignment]  # mutable

    def to_json(self) -> dict[str, Any]:
        """Counts only; the layout is the profile's."""
        return {
            "rows": self.rows,
            "counts": {name: counts.tolist() for name, counts in self.counts.items()},
            "ranges": {name: list(ends) for name, ends in self.ranges.items()},
        }

    def load(self, document: Mapping[str, Any]) -> Histograms:
        """Take the counts that `to_json` gave; returns itself. Raises ValueError when they fit another layout."""
        if {name: len(c) for name, c in document["counts"].items()} != {n: len(c) for n, c in self.counts.items()}:
            raise ValueError("these counts belong to another layout, that is to another bundle")
        self.rows = int(document["rows"])
        self.counts = {name: np.array(document["counts"][name], np.int64) for name in self.counts}
        self.ranges = {name: (float(low), float(high)) for name, (low, high) in document["ranges"].items()}
        return self

    def _count(self, column: Column, values: Sequence[Any], unknown: int = 0) -> None:
        counts = self.counts[column.name]
        missing_before = int(counts[MISSING])
        if column.is_numeric:
            self._count_numbers(column, values, counts)
        else:
            _count_levels(column, values, counts)
        unknown = min(unknown, int(counts[MISSING]) - missing_before)  # an unknown level was logged as None
        counts[MISSING] -= unknown
        counts[UNKNOWN] += unknown

    def _count_numbers(self, column: Column, values: Sequence[Any], counts: Counts) -> None:
        numbers, invalid = _numbers(values)
        counts[INVALID] += invalid
        present = numbers[~np.isnan(numbers)]
        counts[MISSING] += len(values) - len(present) - invalid
        if len(present):
            cells = np.searchsorted(np.array(column.edges), present, side="right")
            counts[: column.values] += np.bincount(cells, minlength=column.values)
            self._widen(column.name, float(present.min()), float(present.max()))

    def _widen(self, name: str, low: float, high: float) -> None:
        before = self.ranges.get(name, (low, high))
        self.ranges[name] = (min(low, before[0]), max(high, before[1]))


@dataclass(frozen=True)
class Profile:
    """The reference of a bundle: its layout and its counts. Immutable; share it freely."""

    contract: str
    contract_sha256: str
    reference: Histograms

    @property
    def layout(self) -> tuple[Column, ...]:
        """The columns with their cells, as every window must have them."""
        return self.reference.layout

    def empty(self) -> Histograms:
        """Fresh counts on this reference's cells, for a window."""
        return Histograms(self.layout)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Profile:
        """The inverse of `make_profile`. Raises ValueError saying what is wrong with the document."""
        if document.get("version") != PROFILE_VERSION:
            raise ValueError(f"profile version {document.get('version')!r}: expected {PROFILE_VERSION}; train again")
        layout = tuple(
            Column(entry["name"], entry["kind"], tuple(entry["edges"]), tuple(entry["levels"]))
            for entry in document["columns"]
        )
        return cls(document["contract"], document["contract_sha256"], Histograms(layout).load(document["reference"]))


def make_profile(contract: Contract, reference: pandas.DataFrame) -> dict[str, Any]:
    """What `profile.json` holds: cells cut by the reference, and the reference's counts in them.

    `reference` has the contract's features, cleaned, and `churn_probability` and `churn` where there is a model.
    """
    columns = [_feature_column(feature, reference) for feature in contract.features]
    if SCORE in reference:
        columns.append(Column(SCORE, "score", _edges(_finite(reference, SCORE), whole=False)))
    if CLASS in reference:
        columns.append(Column(CLASS, "class", levels=(False, True)))
    histograms = Histograms(tuple(columns))
    histograms.update_frame(reference)
    return {
        "version": PROFILE_VERSION,
        "contract": contract.name,
        "contract_sha256": contract.sha256,
        "columns": [
            {"name": c.name, "kind": c.kind, "edges": list(c.edges), "levels": list(c.levels)} for c in columns
        ],
        "reference": histograms.to_json(),
    }


def _feature_column(feature: Feature, reference: pandas.DataFrame) -> Column:
    if feature.is_numeric:
        edges = _edges(_finite(reference, feature.name), whole=feature.type == "integer")
        return Column(feature.name, "number", edges=edges)
    if feature.type == "boolean":
        return Column(feature.name, "boolean", levels=(False, True))
    return Column(feature.name, "ordinal" if feature.type == "ordinal" else "category", levels=feature.levels)


def _finite(reference: pandas.DataFrame, name: str) -> NDArray[np.float64]:
    numbers = _numbers(_frame_values(reference, name))[0]
    return np.sort(numbers[~np.isnan(numbers)])


def _edges(ordered: NDArray[np.float64], whole: bool) -> tuple[float, ...]:
    """Cut sorted values at their quantiles. A value that fills a cell alone gets one of its own, exactly as wide."""
    if not len(ordered):
        return ()
    low, high = float(ordered[0]), float(ordered[-1])
    if whole and high - low < INTEGER_SPAN:
        return (*(float(value) for value in range(int(low), int(high) + 1)), _above(high))
    positions = np.arange(QUANTILE_CELLS) * len(ordered) // QUANTILE_CELLS
    times = Counter(ordered[positions].tolist())
    edges = {low, _above(high), *times}
    edges.update(_above(value) for value, count in times.items() if count > 1)
    return tuple(sorted(edges))


def _above(value: float) -> float:
    return math.nextafter(value, math.inf)


def _numbers(values: Sequence[Any]) -> tuple[NDArray[np.float64], int]:
    """Numbers with NaN for None, and how many values were no finite number (they become NaN too)."""
    try:
        numbers = np.array(values, dtype=np.float64)
        wrong = np.isinf(numbers)
    except (ValueError, TypeError, OverflowError):
        numbers = np.array([math.nan if v is None else _number_or_infinity(v) for v in values], dtype=np.float64)
        wrong = np.isinf(numbers)
    if wrong.any():
        numbers[wrong] = math.nan
    return numbers, int(wrong.sum())


def _number_or_infinity(value: Any) -> float:
    try:
        return float(value)
    except (ValueError, TypeError, OverflowError):
        return math.inf


def _count_levels(column: Column, values: Sequence[Any], counts: Counts) -> None:
    try:
        found: Mapping[Any, int] = Counter(values)
    except TypeError:  # something unhashable: no level
        hashable = [value for value in values if isinstance(value, str | bool | int | float | None)]
        counts[INVALID] += len(values) - len(hashable)
        found = Counter(hashable)
    positions = {level: index for index, level in enumerate(column.levels)}
    for value, count in found.items():
        if value is None or value != value:
            counts[MISSING] += count
        elif value in positions:
            counts[positions[value]] += count
        else:
            counts[UNKNOWN if isinstance(value, str) and column.kind != "class" else INVALID] += count


def _transposed(features: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> Sequence[Sequence[Any]]:
    names = [column.name for column in columns]
    if len(names) < 2:
        return [[fields.get(name) for fields in features] for name in names]
    try:
        return list(zip(*map(itemgetter(*names), features), strict=True))
    except KeyError:
        return [[fields.get(name) for fields in features] for name in names]


def _frame_values(frame: pandas.DataFrame, name: str) -> list[Any]:
    if name not in frame:
        return [None] * len(frame)
    column = frame[name].astype(object)
    return column.where(column.notna(), None).tolist()  # type: ignore[no-any-return]
