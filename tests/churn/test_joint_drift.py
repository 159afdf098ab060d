"""A change that every column hides is found and its columns are named; no change is not found."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from churn.joint_drift import JointVerdict, find_joint_drift

COLUMNS = ("income", "spend", "age", "plan=basic")


def customers(rows: int, seed: int) -> NDArray[np.float32]:
    """Income and spend go together; the rest does not; some ages are missing."""
    random = np.random.default_rng(seed)
    income = random.normal(size=rows)
    age = np.where(random.random(rows) < 0.1, np.nan, random.normal(size=rows))
    spend = 0.8 * income + 0.6 * random.normal(size=rows)
    return np.stack([income, spend, age, random.random(rows) < 0.5], axis=1).astype(np.float32)


def test_columns_that_no_longer_go_together_are_found_and_named() -> None:
    window = customers(1_000, 2)
    window[:, 1] = np.random.default_rng(3).permutation(window[:, 1])
    found = find_joint_drift(customers(5_000, 1), window, COLUMNS)

    assert found.drifted
    assert found.auc > 0.6
    assert set(found.columns[:2]) == {"income", "spend"}


def test_chances_of_quiet_windows_are_spread_evenly() -> None:
    chances = [
        find_joint_drift(customers(1_000, 2 * seed), customers(300, 2 * seed + 1), COLUMNS).p_value
        for seed in range(10, 50)
    ]

    assert 0.12 < float(np.mean(np.array(chances) <= 0.3)) < 0.5
    assert float(np.mean(np.array(chances) <= 0.05)) < 0.15


def test_a_window_too_small_to_learn_from_says_so() -> None:
    found = find_joint_drift(customers(1_000, 1), customers(199, 2), COLUMNS)

    assert (found.drifted, found.p_value, found.reason) == (False, 1.0, "199 rows, at least 200 are needed")


@pytest.mark.parametrize("rows", [199, 1_000])
def test_a_verdict_survives_json(rows: int) -> None:
    found = find_joint_drift(customers(1_000, 1), customers(rows, 2), COLUMNS)

    assert JointVerdict.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found
