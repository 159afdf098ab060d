"""Evidently as it comes out of the box, for the same tables: no method, threshold or definition beyond the types."""

from __future__ import annotations

import os
from typing import Any

import pandas as pd

from churn.contract import Contract
from churn.histogram import CLASS, SCORE


def drifted_columns(contract: Contract, reference: pd.DataFrame, window: pd.DataFrame) -> list[str]:
    """The columns that Evidently's drift preset calls drifted, in the contract's order."""
    os.environ["DO_NOT_TRACK"] = "1"
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    numbers = [feature.name for feature in contract.features if feature.is_numeric] + [SCORE]
    categories = [feature.name for feature in contract.features if not feature.is_numeric] + [CLASS]
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=categories)
    data = [
        Dataset.from_pandas(_plain(side[numbers + categories], numbers), definition) for side in (window, reference)
    ]
    snapshot = Report([DataDriftPreset()], include_tests=False).run(*data)
    return [entry["config"]["column"] for entry in snapshot.dict()["metrics"] if _drifted(entry)]


def _plain(frame: pd.DataFrame, numbers: list[str]) -> pd.DataFrame:
    """Numbers as floats, the rest with nulls as Evidently knows them."""
    columns = {
        name: pd.to_numeric(frame[name]).astype(float)
        if name in numbers
        else frame[name].astype(object).where(frame[name].notna(), None)
        for name in frame
    }
    return frame.assign(**columns).reset_index(drop=True)


def _drifted(entry: dict[str, Any]) -> bool:
    config = entry["config"]
    if "column" not in config:
        return False
    low_is_drift = "p_value" in config["method"]
    return bool(entry["value"] < config["threshold"] if low_is_drift else entry["value"] >= config["threshold"])
