"""Customers that send traffic: rows that the model has not seen, with their known truth.

Why not the training rows again: a model's scores on rows it was fitted on are sharper than on unseen ones, which the
watch would rightly report as drift of the score.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pandas as pd

from churn.bundle import Bundle
from churn.contract import Contract
from churn.errors import DataError
from churn.feature_store import FeatureStore
from churn.prediction import Value
from churn.split import split
from simulation.draw import plain


@dataclass(frozen=True, slots=True)
class Customer:
    """One customer at one moment. `churned` is the truth, known `label_delay_seconds` after the moment."""

    customer_id: str
    features: dict[str, Value]
    churned: bool
    label_delay_seconds: float = 0.0


def held_out(features: FeatureStore, contract: Contract, version: str, seed: int) -> pd.DataFrame:
    """The rows of a version that a model tuned on it with this seed was not fitted on. Raises FeatureStoreError."""
    frame = features.read(contract.name, version)
    return frame.iloc[split(frame, seed).unseen].reset_index(drop=True)


def held_out_of(bundle: Bundle, features: FeatureStore) -> pd.DataFrame:
    """The rows that this bundle's model was not fitted on. Raises FeatureStoreError or DataError."""
    facts = bundle.manifest["facts"]
    try:
        version, seed = str(facts["features_version"]), int(facts["seed"])
    except KeyError as error:
        raise DataError(
            f"the bundle of run {bundle.run_id} does not say its {error}; give --features VERSION"
        ) from None
    return held_out(features, bundle.contract, version, seed)


def draw_customers(frame: pd.DataFrame, contract: Contract, rows: int, seed: int) -> list[Customer]:
    """The first `rows` of `endless_customers`."""
    return list(islice(endless_customers(frame, contract, seed), rows))


def endless_customers(frame: pd.DataFrame, contract: Contract, seed: int) -> Iterator[Customer]:
    """Customers of a cleaned frame (`customer_id`, features, `churned`) in a seeded order.

    Without replacement; when all were drawn, again in another order. Raises DataError for an empty frame.
    """
    if frame.empty:
        raise DataError("there are no customers to draw from; choose another version of the features")
    customers = _customers(frame, contract)
    return (customers[position] for position in _orders(len(customers), seed))


def _customers(frame: pd.DataFrame, contract: Contract) -> list[Customer]:
    names = contract.feature_names
    columns = [plain(frame, feature) for feature in contract.features]
    return [
        Customer(str(identity), dict(zip(names, values, strict=True)), bool(churned))
        for identity, churned, *values in zip(frame["customer_id"], frame["churned"], *columns, strict=True)
    ]


def _orders(size: int, seed: int) -> Iterator[int]:
    random = np.random.default_rng(seed)
    while True:
        yield from random.permutation(size).tolist()
