"""A shifted sample flags exactly the shifted column; a quiet one flags none; a hopeless one says why."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from churn.contract import Contract
from churn.drift import WindowVerdict, broken, judge
from churn.histogram import Profile, make_profile
from tests.fakes import random_customers


def customers(contract: Contract, rows: int, seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return random_customers(contract, rows, seed).assign(
        churn_probability=random.beta(1, 6, rows), churn=random.random(rows) < 0.15
    )


@pytest.fixture(scope="module")
def profile(credit_card: Contract) -> Profile:
    return Profile.from_json(make_profile(credit_card, customers(credit_card, 5_000, 0)))


def verdict(profile: Profile, frame: pd.DataFrame, **options: Any) -> WindowVerdict:
    window = profile.empty()
    window.update_frame(frame)
    return judge(profile, window, **options)


@pytest.mark.parametrize("rows", [50, 200, 1_000, 5_000])
def test_a_quiet_window_flags_no_column(profile: Profile, credit_card: Contract, rows: int) -> None:
    found = verdict(profile, customers(credit_card, rows, rows))

    assert (found.state, found.drifted, found.reason) == ("ok", (), "no column drifted")


def test_half_a_standard_deviation_at_200_rows_flags_exactly_that_column(
    profile: Profile, credit_card: Contract
) -> None:
    frame = customers(credit_card, 200, 1)
    frame["credit_limit"] += 0.5 * frame["credit_limit"].std()

    assert verdict(profile, frame).drifted == ("credit_limit",)


def test_nulls_flag_exactly_their_column_and_say_that_they_are_nulls(profile: Profile, credit_card: Contract) -> None:
    frame = customers(credit_card, 1_000, 2)
    frame.loc[frame.index[:150], "total_trans_amt"] = None
    found = verdict(profile, frame)

    assert found.drifted == ("total_trans_amt",)
    assert found.column("total_trans_amt").method == "missing_share"
    assert found.column("total_trans_amt").missing_share == pytest.approx(0.15)


def test_a_new_level_of_two_percent_flags_exactly_its_column(profile: Profile, credit_card: Contract) -> None:
    frame = customers(credit_card, 1_000, 3)
    frame.loc[frame.index[:20], "gender"] = "X"
    found = verdict(profile, frame)

    assert found.drifted == ("gender",)
    assert (found.column("gender").method, found.column("gender").unknown_share) == ("unknown_share", 0.02)


def test_a_shift_too_small_to_matter_is_named_but_not_flagged(profile: Profile, credit_card: Contract) -> None:
    frame = customers(credit_card, 20_000, 4)
    frame["credit_limit"] += 0.15 * frame["credit_limit"].std()
    found = verdict(profile, frame, minimum_effect=0.2)

    assert found.drifted == ()
    assert found.column("credit_limit").adjusted_p_value < 0.01
    assert "too small to matter, below 0.2" in found.column("credit_limit").reason


@pytest.mark.parametrize("value", [None, 1_000.0])
def test_a_column_that_is_all_null_or_frozen_is_flagged(profile: Profile, credit_card: Contract, value: Any) -> None:
    assert verdict(profile, customers(credit_card, 200, 5).assign(credit_limit=value)).drifted == ("credit_limit",)


def test_a_missing_column_is_a_column_of_nulls(profile: Profile, credit_card: Contract) -> None:
    assert verdict(profile, customers(credit_card, 200, 6).drop(columns="gender")).drifted == ("gender",)


def test_an_empty_window_and_a_small_one_are_states_not_errors(profile: Profile, credit_card: Contract) -> None:
    empty = verdict(profile, customers(credit_card, 0, 7))
    small = verdict(profile, customers(credit_card, 99, 7), minimum_rows=100)

    assert (empty.state, empty.reason) == ("insufficient", "no predictions")
    assert (small.state, small.reason) == ("insufficient", "99 rows, at least 100 are needed")


def test_one_row_can_be_judged_where_one_is_enough(profile: Profile, credit_card: Contract) -> None:
    assert verdict(profile, customers(credit_card, 1, 8)).state == "ok"


def test_counts_of_another_bundle_are_broken(profile: Profile, credit_card: Contract) -> None:
    other = Profile.from_json(make_profile(credit_card, customers(credit_card, 200, 9)))

    assert judge(profile, other.empty()).state == "broken"


def test_a_verdict_survives_json(profile: Profile, credit_card: Contract) -> None:
    found = verdict(profile, customers(credit_card, 300, 10))

    assert WindowVerdict.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found
    assert WindowVerdict.from_json(broken("gone").to_json()) == broken("gone")
