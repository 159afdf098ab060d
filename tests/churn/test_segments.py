"""The group that changed is named, whether it is one value or two together; quiet windows name none."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from churn.contract import Contract
from churn.histogram import SCORE, Profile, make_profile
from churn.segments import find_segments
from tests.fakes import random_customers


def customers(contract: Contract, rows: int, seed: int) -> pd.DataFrame:
    scores = np.random.default_rng(seed).beta(1, 6, rows)
    return random_customers(contract, rows, seed).assign(**{SCORE: scores})


@pytest.fixture(scope="module")
def reference(credit_card: Contract) -> pd.DataFrame:
    return customers(credit_card, 5_000, 0)


@pytest.fixture(scope="module")
def profile(credit_card: Contract, reference: pd.DataFrame) -> Profile:
    return Profile.from_json(make_profile(credit_card, reference))


def test_quiet_windows_name_no_segment(profile: Profile, credit_card: Contract, reference: pd.DataFrame) -> None:
    named = [find_segments(profile, reference, customers(credit_card, 1_000, seed)) for seed in range(1, 11)]

    assert named == [[]] * 10


def test_a_pair_of_values_that_vanished_is_named_with_its_shares(
    profile: Profile, credit_card: Contract, reference: pd.DataFrame
) -> None:
    window = customers(credit_card, 4_000, 20)
    window = window[~((window["gender"] == "F") & (window["card_category"] == "Gold"))]
    found = find_segments(profile, reference, window)
    pair = next(segment for segment in found if len(segment.columns) == 2)

    assert pair.name == "gender F and card_category Gold"
    assert (pair.rows, pair.share) == (0, 0.0)
    assert pair.reference_share == pytest.approx(0.125, abs=0.02)
    assert pair.score_change is None


def test_a_value_that_is_scored_otherwise_is_named(
    profile: Profile, credit_card: Contract, reference: pd.DataFrame
) -> None:
    window = customers(credit_card, 2_000, 21)
    window.loc[window["card_category"] == "Blue", SCORE] += 0.1
    found = next(s for s in find_segments(profile, reference, window, limit=500) if s.columns == ("card_category",))

    assert found.values == ("Blue",)
    assert found.score_change == pytest.approx(0.1, abs=0.02)
    assert found.score_q_value < 1e-6
    assert found.share_q_value > 0.05


@pytest.mark.parametrize("rows", [0, 1])
def test_hardly_any_rows_name_nothing(
    profile: Profile, credit_card: Contract, reference: pd.DataFrame, rows: int
) -> None:
    assert find_segments(profile, reference, customers(credit_card, rows, 22)) == []


def test_a_column_without_values_is_a_segment_of_missing_ones(
    profile: Profile, credit_card: Contract, reference: pd.DataFrame
) -> None:
    window = customers(credit_card, 500, 23).assign(credit_limit=None)
    found = find_segments(profile, reference, window)[0]

    assert (found.name, found.share, found.reference_share) == ("credit_limit missing", 1.0, 0.0)
