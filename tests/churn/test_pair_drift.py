"""Two columns that go together otherwise than before are found and named; no change is not found."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from churn.pair_drift import Pair, PairReference

COLUMNS = ("income", "spend", "age", "plan=basic", "plan=gold")


def customers(rows: int, seed: int, tied: float = 0.0) -> NDArray[np.float32]:
    """Income and spend go together; age goes with the plan by so much; some ages are missing, a few plans are gold."""
    random = np.random.default_rng(seed)
    income, age = random.normal(size=rows), random.normal(size=rows)
    spend = 0.8 * income + 0.6 * random.normal(size=rows)
    basic = tied * age + np.sqrt(1 - tied**2) * random.normal(size=rows) > 0
    age = np.where(random.random(rows) < 0.1, np.nan, age)
    return np.stack([income, spend, age, basic, random.random(rows) < 0.01], axis=1).astype(np.float32)


def test_columns_that_begin_to_go_together_are_named_with_both_correlations() -> None:
    found = PairReference(customers(5_000, 1), COLUMNS).compare(customers(1_000, 2, tied=0.4))

    assert (found[0].first, found[0].second) == ("age", "plan=basic")
    assert found[0].p_value < 0.0001
    assert abs(found[0].before) < 0.05
    assert found[0].now > 0.2
    assert all(pair.p_value > 0.01 for pair in found[1:])


def test_an_association_that_turns_round_is_found() -> None:
    window = customers(500, 2)
    window[:, 1] *= -1
    found = PairReference(customers(5_000, 1), COLUMNS).compare(window)

    assert (found[0].first, found[0].second, found[0].now < -0.5 < 0.5 < found[0].before) == ("income", "spend", True)


def test_quiet_windows_keep_the_budget_far_out_in_the_tail() -> None:
    chances = np.array(
        [
            PairReference(customers(2_000, 2 * seed), COLUMNS).compare(customers(300, 2 * seed + 1))[0].p_value
            for seed in range(500, 1_000)
        ]
    )

    assert float(np.mean(chances <= 0.2)) < 0.25
    assert float(np.mean(chances <= 0.02)) < 0.04
    assert float(chances.min()) > 0.0001


def test_a_column_that_moved_as_a_whole_changes_no_pair() -> None:
    window = customers(1_000, 2)
    window[:, 0] = window[:, 0] * 1.2 + 0.3
    found = PairReference(customers(5_000, 1), COLUMNS).compare(window)

    assert found[0].p_value > 0.01


def test_levels_of_one_feature_and_values_too_rare_to_tell_are_no_pair() -> None:
    found = PairReference(customers(5_000, 1), COLUMNS).compare(customers(1_000, 2))
    pairs = {(pair.first, pair.second) for pair in found}

    assert pairs == {
        ("income", "spend"),
        ("income", "age"),
        ("income", "plan=basic"),
        ("spend", "age"),
        ("spend", "plan=basic"),
        ("age", "plan=basic"),
    }


def test_columns_without_values_or_with_one_value_leave_the_others_to_be_compared() -> None:
    reference, window = customers(2_000, 1), customers(500, 2)
    window[:, 0], window[:, 2] = np.nan, 7.0
    found = PairReference(reference, COLUMNS).compare(window)

    assert [(pair.first, pair.second) for pair in found] == [("spend", "plan=basic")]
    assert PairReference(reference, COLUMNS).compare(window[:0]) == []


def test_columns_that_are_one_stay_one() -> None:
    reference, window = customers(2_000, 1), customers(500, 2)
    reference[:, 1], window[:, 1] = reference[:, 0], window[:, 0]
    found = {(p.first, p.second): p for p in PairReference(reference, COLUMNS).compare(window)}

    assert found["income", "spend"] == Pair("income", "spend", 0.999, 0.999, 1.0)
