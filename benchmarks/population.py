"""The population that the drift benchmark draws from: real or simulated customers with scores of models that had not
seen them, and the shifts that are planted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import xgboost
from numpy.typing import NDArray

from churn.contract import Contract
from churn.encoder import Encoder
from churn.histogram import CLASS, SCORE

FOLDS = 5
ROUNDS = 60


@dataclass(frozen=True)
class Population:
    """Rows with the contract's features, cleaned, `churned`, `churn_probability` and `churn`; scored out of fold."""

    contract: Contract
    rows: pd.DataFrame
    rescore: Callable[[pd.DataFrame], pd.DataFrame]
    """Score rows of the population again after a shift, each by the model that had not seen it."""


def load(contract: Contract, path: Path, seed: int = 0) -> Population:
    """Read a raw CSV by its contract, clean it and score it."""
    raw = pd.read_csv(path, dtype=object, keep_default_na=False)
    encoder = Encoder(contract)
    columns = {name: raw[source] for name, source in contract.raw_columns.items()}
    cleaned = [
        encoder.clean({name: _parsed(contract, name, value) for name, value in zip(columns, values, strict=True)})
        for values in zip(*columns.values(), strict=True)
    ]
    frame = pd.DataFrame([record.features for record in cleaned])
    frame["churned"] = (raw[contract.target.column] == contract.target.positive).to_numpy()
    return score(contract, frame, seed)


def score(contract: Contract, frame: pd.DataFrame, seed: int = 0) -> Population:
    """Give each row the score of a model fitted on the other folds."""
    encoder = Encoder(contract)
    folds = np.random.default_rng(seed).permutation(len(frame)) % FOLDS
    matrix, labels = encoder.encode_frame(frame), frame["churned"].to_numpy(dtype=bool)
    options = {"objective": "binary:logistic", "max_depth": 4, "eta": 0.2, "nthread": 1}
    models = [
        xgboost.train(options, xgboost.DMatrix(matrix[folds != fold], labels[folds != fold]), ROUNDS)
        for fold in range(FOLDS)
    ]

    def rescore(rows: pd.DataFrame) -> pd.DataFrame:
        data, of_rows = encoder.encode_frame(rows), folds[rows["row"].to_numpy()]
        probabilities = np.empty(len(rows))
        for fold in range(FOLDS):
            if (mine := of_rows == fold).any():
                probabilities[mine] = models[fold].inplace_predict(data[mine])
        return rows.assign(**{SCORE: probabilities, CLASS: probabilities >= 0.5})

    return Population(contract, rescore(frame.assign(row=np.arange(len(frame)))), rescore)


def mean_shift(column: str, deviations: float) -> Callable[[pd.DataFrame, pd.DataFrame], pd.DataFrame]:
    """Every value of a column moves by so many standard deviations; whole numbers by the nearest whole number on
    average, so that the mean moves exactly as far."""

    def shift(rows: pd.DataFrame, reference: pd.DataFrame) -> pd.DataFrame:
        step = deviations * float(reference[column].std())
        moved = rows[column] + step
        if pd.api.types.is_integer_dtype(reference[column]):
            moved = np.floor(moved + np.random.default_rng(len(rows)).random(len(rows))).astype(int)
        return rows.assign(**{column: moved})

    return shift


def move_level(column: str, source: str, target: str, share: float) -> Callable[..., pd.DataFrame]:
    """So large a share of all rows moves from one level to another."""
    return _replace(column, share, lambda rows: (rows[column] == source).to_numpy(), target)


def new_level(column: str, share: float) -> Callable[..., pd.DataFrame]:
    """So large a share of all rows has a level that the contract does not list."""
    return _replace(column, share, lambda rows: np.ones(len(rows), bool), "a new level")


def nulls(column: str, share: float) -> Callable[..., pd.DataFrame]:
    """So large a share of all rows has no value."""
    return _replace(column, share, lambda rows: np.ones(len(rows), bool), None)


def _replace(
    column: str, share: float, eligible: Callable[[pd.DataFrame], NDArray[np.bool_]], value: str | None
) -> Callable[..., pd.DataFrame]:
    def shift(rows: pd.DataFrame, reference: pd.DataFrame) -> pd.DataFrame:
        candidates = np.flatnonzero(eligible(rows))
        chosen = np.random.default_rng(len(rows)).permutation(candidates)[: round(share * len(rows))]
        values = rows[column].astype(object).to_numpy(copy=True)
        values[chosen] = value
        return rows.assign(**{column: values})

    return shift


def _parsed(contract: Contract, name: str, value: str) -> object:
    feature = contract.feature(name)
    if not feature.is_numeric or value.strip() in contract.missing_spellings:
        return value
    return int(value) if feature.type == "integer" else float(value)
