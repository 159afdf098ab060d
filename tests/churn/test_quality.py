"""Each check names its column and no other, and small windows' luck is no problem."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from churn.contract import Contract
from churn.histogram import Profile, make_profile
from churn.quality import QualityProblem, find_problems
from tests.fakes import random_customers


@pytest.fixture(scope="module")
def profile(credit_card: Contract) -> Profile:
    return Profile.from_json(make_profile(credit_card, random_customers(credit_card, 5_000)))


def problems(profile: Profile, frame: pd.DataFrame) -> tuple[QualityProblem, ...]:
    window = profile.empty()
    window.update_frame(frame)
    return find_problems(profile, window)


def named(profile: Profile, frame: pd.DataFrame) -> list[tuple[str, str]]:
    return [(problem.column, problem.check) for problem in problems(profile, frame)]


@pytest.mark.parametrize("rows", [1, 30, 200, 2_000])
def test_quiet_windows_have_no_problem(profile: Profile, credit_card: Contract, rows: int) -> None:
    assert [named(profile, random_customers(credit_card, rows, seed)) for seed in range(1, 21)] == [[]] * 20


@pytest.mark.parametrize(
    ("column", "value", "check"),
    [
        ("credit_limit", None, "missing"),
        ("gender", None, "missing"),
        ("gender", "X", "unknown"),
        ("credit_limit", 5e6, "out_of_range"),
        ("credit_limit", -1.0, "out_of_range"),
        ("credit_limit", float("inf"), "invalid"),
        ("credit_limit", "many", "invalid"),
    ],
)
def test_a_tenth_of_bad_values_is_named_by_its_check(
    profile: Profile, credit_card: Contract, column: str, value: Any, check: str
) -> None:
    frame = random_customers(credit_card, 500, 3)
    frame[column] = frame[column].astype(object)
    frame.loc[frame.index[:50], column] = value

    assert named(profile, frame) == [(column, check)]


@pytest.mark.parametrize(
    ("column", "value"), [("credit_limit", 300.0), ("gender", "F"), ("education_level", "College")]
)
def test_a_frozen_column_is_constant(profile: Profile, credit_card: Contract, column: str, value: Any) -> None:
    found = problems(profile, random_customers(credit_card, 200, 4).assign(**{column: value}))

    assert [(problem.column, problem.check) for problem in found] == [(column, "constant")]
    assert found[0].reason.startswith("every value is")


def test_a_column_without_any_value_is_missing_and_nothing_else(profile: Profile, credit_card: Contract) -> None:
    found = problems(profile, random_customers(credit_card, 200, 5).assign(credit_limit=None))

    assert [(problem.column, problem.check, problem.share) for problem in found] == [("credit_limit", "missing", 1.0)]
    assert found[0].reason == "100.0% missing, in the reference 0.0%"


def test_the_threshold_is_the_references_share_and_a_tolerance(profile: Profile, credit_card: Contract) -> None:
    frame = random_customers(credit_card, 500, 6)
    frame.loc[frame.index[:100], "marital_status"] = None
    found = problems(profile, frame)[0]

    assert found.threshold == pytest.approx(found.reference_share + 0.02)
    assert 0.03 < found.reference_share < 0.07


def test_an_empty_window_has_no_problem(profile: Profile) -> None:
    assert find_problems(profile, profile.empty()) == ()
