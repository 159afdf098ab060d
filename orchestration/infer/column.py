"""One column of a file, as text: its distinct values, and what they look like. Facts only; nothing is decided here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
DECORATED = r"^[$€£]?\s?[+-]?\d{1,3}(,\d{3})*(\.\d+)?\s?[%$€£]?$"
DATE = r"^(\d{4}-\d{1,2}-\d{1,2}|\d{1,2}[/.]\d{1,2}[/.]\d{2,4}|\d{4}/\d{1,2}/\d{1,2})([ T]\d{1,2}:\d{2}.*)?$"
LEADING_ZERO = r"^0\d+$"
MISSING = frozenset({"", "?", "na", "n/a", "#n/a", "nan", "null", "nil", "unknown", "missing", "-", "--", "."})
MISSING_NUMBER = MISSING | {"none"}
"""In lower case. "None" among words may be a level of its own."""
LARGEST_WHOLE = 2.0**53

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass
class Column:
    """A column by its distinct texts (blanks around them cut): `codes` says for each row which of them it holds."""

    name: str
    texts: pa.Array
    codes: NDArray[np.int32]

    @property
    def rows(self) -> int:
        return len(self.codes)

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Rows of each distinct text."""
        return np.bincount(self.codes, minlength=len(self.texts))

    @cached_property
    def is_number(self) -> Flags:
        return self._match(NUMBER)

    @cached_property
    def is_missing(self) -> Flags:
        """Distinct texts that spell "missing"; "none" only where the others are numbers."""
        lowered = pc.utf8_lower(self.texts)
        words = MISSING_NUMBER if self._weight(self.is_number) > self.rows / 2 else MISSING
        return _flags(pc.is_in(lowered, pa.array(sorted(words))))

    @cached_property
    def levels(self) -> dict[str, int]:
        """Distinct texts that are not missing, with their rows, most frequent first. Costly where there are many."""
        kept = np.flatnonzero(~self.is_missing)
        order = kept[np.argsort(-self.counts[kept], kind="stable")]
        return dict(zip(self.texts.take(pa.array(order)).to_pylist(), self.counts[order].tolist(), strict=True))

    @property
    def distinct(self) -> int:
        """How many different values there are, missing ones aside."""
        return int((~self.is_missing).sum())

    @property
    def missing(self) -> int:
        return self._weight(self.is_missing)

    @property
    def present(self) -> int:
        return self.rows - self.missing

    @property
    def is_unique(self) -> bool:
        return self.missing == 0 and self.distinct == self.rows

    @cached_property
    def numbers(self) -> Floats:
        """The number of each distinct text, NaN where it is none."""
        texts = pc.if_else(pa.array(self.is_number & ~self.is_missing), self.texts, pa.scalar(None, pa.string()))
        return np.asarray(pc.cast(texts, pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)

    @property
    def values(self) -> Floats:
        """The number of each row, NaN where it is none."""
        return self.numbers[self.codes]

    @property
    def number_share(self) -> float:
        """Of the rows that are not missing."""
        return self._share(self.is_number)

    @property
    def date_share(self) -> float:
        return self._share(self._match(DATE))

    @property
    def decorated_share(self) -> float:
        """Numbers and those with thousands separators, per cent or currency signs."""
        return self._share(self._match(DECORATED) | self.is_number)

    @property
    def has_leading_zeros(self) -> bool:
        return bool(self._match(LEADING_ZERO).any())

    @property
    def no_numbers(self) -> dict[str, int]:
        """The texts between numbers, with their rows."""
        odd = np.flatnonzero(~self.is_number & ~self.is_missing)
        return dict(zip(self.texts.take(pa.array(odd)).to_pylist(), self.counts[odd].tolist(), strict=True))

    @property
    def is_whole(self) -> bool:
        numbers = self.numbers[~np.isnan(self.numbers)]
        return bool(len(numbers) and np.all(numbers == np.floor(numbers)) and np.abs(numbers).max() < LARGEST_WHOLE)

    @property
    def missing_texts(self) -> dict[str, int]:
        """The spellings of missing that are not blank, with their rows."""
        found = np.flatnonzero(self.is_missing)
        texts: list[Any] = self.texts.take(pa.array(found)).to_pylist()
        return {text: int(count) for text, count in zip(texts, self.counts[found], strict=True) if text}

    def _match(self, pattern: str) -> Flags:
        return _flags(pc.match_substring_regex(self.texts, pattern))

    def _weight(self, flags: Flags) -> int:
        return int(self.counts[flags].sum())

    def _share(self, flags: Flags) -> float:
        return self._weight(flags & ~self.is_missing) / self.present if self.present else 0.0


def _flags(array: Any) -> Flags:
    return np.asarray(array.to_numpy(zero_copy_only=False), dtype=np.bool_)


def separation(column: Column, positive: Flags) -> float:
    """How well the column alone tells leavers from stayers: AUC, 0.5 to 1, the better of value and being missing.

    Levels are taken in the order of their share of leavers; numbers in their own order, in either direction.
    """
    left: Floats = np.bincount(column.codes, weights=positive, minlength=len(column.texts)).astype(np.float64)
    stayed = column.counts.astype(np.float64) - left
    missing = column.is_missing
    by_missing = _auc(
        np.array([left[~missing].sum(), left[missing].sum()]), np.array([stayed[~missing].sum(), stayed[missing].sum()])
    )
    left, stayed = left[~missing], stayed[~missing]
    keys = column.numbers[~missing] if column.number_share > 0.9 else left / np.maximum(left + stayed, 1)
    order = np.argsort(keys, kind="stable")
    return max(by_missing, _auc(*_merged(keys[order], left[order], stayed[order])))


def _merged(keys: Floats, left: Floats, stayed: Floats) -> tuple[Floats, Floats]:
    """Texts of one number (1 and 1.0) count as one."""
    starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]]) if len(keys) else np.array([], dtype=np.int64)
    return (np.add.reduceat(left, starts), np.add.reduceat(stayed, starts)) if len(keys) else (left, stayed)


def _auc(left: Floats, stayed: Floats) -> float:
    pairs = left.sum() * stayed.sum()
    if not pairs:
        return 0.5
    below = np.cumsum(stayed) - stayed
    area = float((left * (below + stayed / 2)).sum() / pairs)
    return max(area, 1 - area)
