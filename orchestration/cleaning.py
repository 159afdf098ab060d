"""Text from a file -> values as the encoder takes them: numbers parsed, levels by name, missing spellings as None."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from churn.contract import Contract, Feature
from churn.encoder import Encoder, State
from churn.errors import FieldProblem
from orchestration.validation import CUSTOMER, TARGET, Problems

NAN = float("nan")


class CleanedChunk(NamedTuple):
    """`frame` holds floats for numbers (integers too), True and False, levels by name, as written where the contract
    does not list them; None or NaN when missing.

    `problems` are values that could not be read at all; `unknown` marks, by feature, the rows of unknown levels.
    """

    frame: pd.DataFrame
    problems: Problems
    unknown: dict[str, NDArray[np.bool_]]


class Cleaner:
    """Cleans chunks of one contract. Levels and booleans go through the encoder's own converters."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._encoder = Encoder(contract)

    def clean(self, texts: pd.DataFrame) -> CleanedChunk:
        """Each distinct text of a column is converted once."""
        cleaned = CleanedChunk(pd.DataFrame(index=texts.index), {}, {})
        cleaned.frame[CUSTOMER] = texts[CUSTOMER].str.strip().replace("", None)
        for feature in self._contract.features:
            self._clean_column(feature, texts[feature.name], cleaned)
        cleaned.frame[TARGET] = self._clean_target(texts[TARGET], cleaned.problems)
        return cleaned

    def _clean_column(self, feature: Feature, texts: pd.Series, cleaned: CleanedChunk) -> None:
        convert = self._number if feature.is_numeric else self._level
        converted = {text: convert(feature, text) for text in set(texts)}  # pandas' unique() takes '\0' for ''
        dtype: Any = "float64" if feature.is_numeric else object
        cleaned.frame[feature.name] = pd.Series([converted[text][0] for text in texts], dtype=dtype, index=texts.index)
        states = {state for _, state in converted.values()}
        if "unknown" in states:
            cleaned.unknown[feature.name] = np.array([converted[text][1] == "unknown" for text in texts])
        if "wrong" in states:
            for row, text in enumerate(texts):
                if converted[text][1] == "wrong":
                    cleaned.problems.setdefault(row, []).append(FieldProblem(feature.name, text, feature.expected))

    def _number(self, feature: Feature, text: str) -> tuple[float, State]:
        stripped = text.strip()
        if stripped in self._contract.missing_spellings:
            return NAN, "missing"
        try:
            number = NAN if "_" in stripped else float(stripped)  # Python alone reads 1_000 as a number
        except ValueError:
            number = NAN
        return number, "wrong" if number != number else "ok"  # its range is the schema's business

    def _level(self, feature: Feature, text: str) -> tuple[Any, State]:
        value, state = self._encoder.convert(feature.name, text)
        if state in ("unknown", "wrong"):
            value, state = self._respelled(feature, text.strip(), state)
        if state == "unknown":
            return (None, "wrong") if feature.strict else (text.strip(), state)
        return value, state

    def _respelled(self, feature: Feature, text: str, state: State) -> tuple[Any, State]:
        """What a file may write and a request would say otherwise: an index as text, True for true."""
        if feature.type == "ordinal" and text.isdecimal() and int(text) < len(feature.levels):
            return self._encoder.convert(feature.name, int(text))
        if feature.type == "boolean":
            truth = {"true": True, "false": False, "1": True, "0": False}.get(text.lower())
            return self._encoder.convert(feature.name, truth) if truth is not None else (None, state)
        return None, state

    def _clean_target(self, texts: pd.Series, problems: Problems) -> pd.Series:
        target = self._contract.target
        known: dict[str, bool] = {target.positive: True}
        if target.negative is not None:
            known[target.negative] = False
        values: list[bool | None] = []
        for text in texts.str.strip():
            blank = text in self._contract.missing_spellings
            values.append(known.get(text, None if blank or target.negative is not None else False))
        for row, (value, text) in enumerate(zip(values, texts, strict=True)):
            if value is None:
                named = f"'{target.positive}' or '{target.negative}'" if target.negative else "a value"
                problems.setdefault(row, []).append(FieldProblem(target.column, text, named))
        return pd.Series(values, dtype=object, index=texts.index)
