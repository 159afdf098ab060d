"""Made-up customers to fill the form with: taken from the reference's histograms, so that none of them is a person."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from churn.bundle import Bundle
from churn.contract import Feature
from churn.histogram import EXTRA_CELLS, Profile
from churn.prediction import Value

Record = dict[str, Value]
Choose = Callable[[NDArray[np.float64]], int]
"""Shares of a column's cells -> the index of one of them."""

SIGNIFICANT_DIGITS = 3
DRAWN = 300
"""Customers drawn to find one at risk among; making and scoring them takes about 0.1 s, once a model."""


def typical_customer(bundle: Bundle) -> Record:
    """The reference's middle: each ordered feature's median, each other feature's most frequent level."""
    profile = Profile.from_json(bundle.profile())
    record: Record = {}
    for feature in bundle.contract.features:
        ordered = feature.is_numeric or feature.type == "ordinal"
        record |= _field(feature, profile, _median if ordered else _most_frequent)
    return record


def customer_at_risk(bundle: Bundle, seed: int = 0) -> Record:
    """Of `DRAWN` customers whose features are drawn one by one, the one nearest halfway from the threshold to 1."""
    profile, random = Profile.from_json(bundle.profile()), np.random.default_rng(seed)
    drawn: list[Record] = [{} for _ in range(DRAWN)]
    for feature in bundle.contract.features:
        for record in drawn:
            record |= _field(feature, profile, lambda shares: int(random.choice(len(shares), p=shares)))
    matrix = bundle.encoder.matrix([bundle.encoder.clean(record) for record in drawn])
    wanted = (1 + bundle.threshold) / 2  # the most likely of all would show reasons on one side only
    return drawn[int(np.argmin(np.abs(bundle.probabilities(matrix) - wanted)))]


def _median(shares: NDArray[np.float64]) -> int:
    return int(np.searchsorted(np.cumsum(shares), 0.5))


def _most_frequent(shares: NDArray[np.float64]) -> int:
    return int(np.argmax(shares))


def _field(feature: Feature, profile: Profile, choose: Choose) -> Record:
    """One field; empty when the reference never had it and it may be left out."""
    column = next(column for column in profile.layout if column.name == feature.name)
    counts = profile.reference.counts[feature.name][:-EXTRA_CELLS].astype(np.float64)
    if not counts.any():
        if not feature.required:
            return {}
        counts += 1
    cell = choose(counts / counts.sum())
    if not feature.is_numeric:
        return {feature.name: column.levels[cell]}
    return {feature.name: _number(feature, column.edges, cell)}


def _number(feature: Feature, edges: tuple[float, ...], cell: int) -> float | int:
    """A number in the middle of a cell, with few digits, inside the contract's range."""
    around = edges[max(cell - 1, 0) : cell + 1]
    middle = sum(around) / len(around) if around else 0.0
    if feature.type == "integer":
        middle = math.floor(middle)
    elif middle:
        middle = round(middle, SIGNIFICANT_DIGITS - 1 - math.floor(math.log10(abs(middle))))
    low = -math.inf if feature.minimum is None else feature.minimum
    high = math.inf if feature.maximum is None else feature.maximum
    middle = min(max(middle, low), high)
    return int(middle) if middle == int(middle) else middle
