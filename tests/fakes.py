"""Doubles and small real things that tests of several rooms share. Fakes only for clocks, randomness and faults."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xgboost

from churn.bundle import Bundle, load_bundle, save_bundle
from churn.calibration import Calibration, fit_calibration
from churn.contract import Contract, Feature, load_contract
from churn.encoder import Encoder
from churn.histogram import make_profile
from churn.model import XGBoostModel

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
"""Published data sets, where a machine has them; tests that want them skip elsewhere."""


def pseudonym_key() -> bytes:
    """The secret behind the pseudonyms of every test."""
    return b"k" * 64


class Clock:
    """A clock that the test turns."""

    def __init__(self, start: datetime = datetime(2026, 1, 31, 12, tzinfo=UTC)) -> None:
        self.time = start

    def __call__(self) -> datetime:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


def random_customers(contract: Contract, rows: int, seed: int = 0) -> pd.DataFrame:
    """Cleaned feature rows of any contract, columns independent, plus `churned` driven by the first three."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame({feature.name: _column(feature, rows, random) for feature in contract.features})
    scores = sum(
        (-1) ** i * (frame[f.name] - frame[f.name].mean()) / frame[f.name].std()
        for i, f in enumerate([f for f in contract.features if f.is_numeric][:3])
    )
    frame["churned"] = random.random(rows) < 1 / (1 + np.exp(-(2.0 * np.asarray(scores) - 1.5)))
    return frame


def records(frame: pd.DataFrame, contract: Contract) -> list[dict[str, Any]]:
    """The feature rows of a frame as JSON-like records."""
    columns = list(contract.feature_names)
    plain = frame[columns].astype(object).where(frame[columns].notna(), None)
    return [{str(k): v for k, v in row.items()} for row in plain.to_dict("records")]


def make_bundle(
    folder: Path,
    contract_name: str = "credit_card",
    rows: int = 1_000,
    rounds: int = 20,
    run_id: str = "a" * 32,
    seed: int = 0,
    facts: dict[str, Any] | None = None,
) -> Bundle:
    """A real, small bundle without MLflow: trained, saved and loaded with every check."""
    contract = load_contract(contract_name)
    frame = random_customers(contract, rows, seed)
    matrix = Encoder(contract).encode_frame(frame)
    labels = frame["churned"].to_numpy(dtype=bool)
    data = xgboost.DMatrix(matrix, labels)
    model = XGBoostModel(xgboost.train({"objective": "binary:logistic", "max_depth": 3, "nthread": 1}, data, rounds))
    calibration: Calibration = fit_calibration(model.log_odds(matrix), labels)
    reference = frame.assign(churn_probability=calibration.probabilities(model.log_odds(matrix)))
    reference["churn"] = reference["churn_probability"] >= 0.5
    save_bundle(
        folder,
        run_id=run_id,
        contract=contract,
        model=model,
        calibration=calibration,
        threshold=0.5,
        reference=reference,
        profile=make_profile(contract, reference),
        golden_records=records(frame.head(50), contract),
        facts=facts or {},
    )
    return load_bundle(folder)


def _column(feature: Feature, rows: int, random: np.random.Generator) -> Any:
    if feature.is_numeric:
        low = feature.minimum or 0.0
        high = min(feature.maximum if feature.maximum is not None else 1_000.0, low + 1_000.0)
        values = low + (high - low) * random.beta(2, 4, rows)
        return np.round(values).astype(int) if feature.type == "integer" else np.round(values, 3)
    levels: list[Any] = [True, False] if feature.type == "boolean" else list(feature.levels)
    drawn = random.choice(len(levels), rows)
    missing = np.zeros(rows, bool) if feature.required else random.random(rows) < 0.05
    return [None if gone else levels[index] for index, gone in zip(drawn, missing, strict=True)]
