"""A change that every column hides is found and its columns are named; no change is not found."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from churn.joint_drift import TESTS, JointReference, JointVerdict

COLUMNS = ("income", "spend", "age", "plan=basic")


def customers(rows: int, seed: int) -> NDArray[np.float32]:
    """Income and spend go together; the rest does not; some ages are missing."""
    random = np.random.default_rng(seed)
    income = random.normal(size=rows)
    age = np.where(random.random(rows) < 0.1, np.nan, random.normal(size=rows))
    spend = 0.8 * income + 0.6 * random.normal(size=rows)
    return np.stack([income, spend, age, random.random(rows) < 0.5], axis=1).astype(np.float32)


@pytest.fixture(scope="module")
def reference() -> JointReference:
    return JointReference(customers(5_000, 1), COLUMNS)


def test_columns_that_no_longer_go_together_are_found_and_named_with_how_they_did(reference: JointReference) -> None:
    window = customers(1_000, 2)
    window[:, 1] = np.random.default_rng(3).permutation(window[:, 1])
    found = reference.find_drift(window)

    assert found.drifted
    assert found.auc > 0.6
    assert set(found.columns[:2]) == {"income", "spend"}
    assert {tie.column: round(tie.before, 1) for tie in found.ties} == {"income": 0.8, "spend": 0.8}
    assert all(abs(tie.now) < 0.1 and tie.p_value < 1e-6 for tie in found.ties)
    assert f"income agreed with the others by {found.ties[0].before:.2f}, now by " in found.told.replace(
        "spend", "income"
    )


def test_a_weak_tie_that_is_gone_is_found_in_an_hours_rows() -> None:
    """Age says next to nothing of income, and then nothing."""

    def weak(rows: int, seed: int, tie: float) -> NDArray[np.float32]:
        matrix = customers(rows, seed)
        matrix[:, 2] = tie * matrix[:, 0] + np.random.default_rng(seed + 100).normal(size=rows)
        return matrix

    found = JointReference(weak(5_000, 1, 0.15), COLUMNS).find_drift(weak(5_000, 2, 0.0))

    assert found.drifted
    assert "age" in found.columns


def test_a_tie_that_turned_round_is_found(reference: JointReference) -> None:
    window = customers(1_000, 2)
    window[:, 1] = -window[:, 1]
    found = reference.find_drift(window)

    assert found.drifted
    assert all(tie.now < -0.7 < 0.7 < tie.before for tie in found.ties)


def test_columns_that_begin_to_go_together_are_found_and_named(reference: JointReference) -> None:
    """Nothing in the reference foretold age, so no agreement is lost; nor is there much for trees to tell sides by."""
    window = customers(1_000, 2)
    window[:, 2] += 0.35 * window[:, 0]
    found = reference.find_drift(window)

    assert found.drifted
    assert {"income", "age"} <= {found.pairs[0].first, found.pairs[0].second}
    assert found.pairs[0].p_value <= found.threshold / TESTS
    assert {"income", "age"} <= set(found.columns)
    assert "income and age went together by" in found.told


def test_a_change_without_a_sign_is_found_by_the_classifier(reference: JointReference) -> None:
    """Income and spend correlate as ever, by another law: equal in nine rows of ten, opposite in one."""
    window, random = customers(2_000, 2), np.random.default_rng(4)
    window[:, 1] = window[:, 0] * np.where(random.random(2_000) < 0.9, 1, -1)
    found = reference.find_drift(window)

    assert found.drifted
    assert not found.ties
    assert set(found.columns[:2]) == {"income", "spend"}
    assert "told apart with AUC" in found.told


def test_chances_of_quiet_windows_are_spread_evenly() -> None:
    chances = []
    for seed in range(10):
        reference = JointReference(customers(1_000, 1_000 + seed), COLUMNS)
        chances += [reference.find_drift(customers(300, 10 * seed + look)).p_value for look in range(10)]

    assert float(np.mean(np.array(chances) <= 0.3)) < 0.45
    assert float(np.mean(np.array(chances) <= 0.05)) < 0.13
    assert float(np.mean(np.array(chances) <= 0.5)) > 0.25


def test_a_column_that_moved_as_a_whole_is_no_change_of_its_ties(reference: JointReference) -> None:
    """That is for the column's own verdict to say."""
    window = customers(1_000, 2)
    window[:, 0] += 0.1

    assert not reference.find_drift(window).ties


def test_columns_of_one_category_do_not_foretell_each_other() -> None:
    """They would for ever: who has one level has no other."""
    random = np.random.default_rng(1)
    plans = np.eye(3, dtype=np.float32)[random.integers(0, 3, 4_000)]
    matrix = np.hstack([plans, random.normal(size=(4_000, 1)).astype(np.float32)])
    columns = ("plan=a", "plan=b", "plan=c", "income")
    window = matrix[2_000:].copy()
    window[:, 0] = window[:, 0][random.permutation(2_000)]  # no customer's levels fit together any more
    found = JointReference(matrix[:2_000], columns).find_drift(window)

    assert not found.ties


@pytest.mark.parametrize("spoilt", [np.nan, 7.0])
def test_a_column_without_values_or_with_one_says_nothing_and_stops_nothing(spoilt: float) -> None:
    matrix = customers(1_000, 1)
    matrix[:, 2] = spoilt
    window = customers(500, 2)
    window[:, 2] = spoilt
    found = JointReference(matrix, COLUMNS).find_drift(window)

    assert not found.drifted
    assert JointReference(customers(1_000, 1), COLUMNS).find_drift(window).p_value <= 1.0


def test_a_window_too_small_to_learn_from_says_so(reference: JointReference) -> None:
    found = reference.find_drift(customers(199, 2))

    assert (found.drifted, found.p_value, found.reason) == (False, 1.0, "199 rows, at least 200 are needed")


@pytest.mark.parametrize("rows", [199, 1_000])
def test_a_verdict_survives_json(reference: JointReference, rows: int) -> None:
    window = customers(rows, 2)
    window[:, 1] = window[::-1, 1].copy()
    found = reference.find_drift(window)

    assert bool(found.ties) == (rows == 1_000)
    assert JointVerdict.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found


def test_a_verdict_of_before_there_were_ties_and_pairs_is_read() -> None:
    found = JointVerdict(0.5, 0.4, 0.001, 900, False).to_json()
    del found["ties"], found["pairs"]

    assert (JointVerdict.from_json(found).ties, JointVerdict.from_json(found).pairs) == ((), ())
