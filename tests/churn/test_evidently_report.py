"""Evidently itself, on real frames; only the tests that import it are marked."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.spatial import distance

from churn.contract import Contract
from churn.evidently_report import (
    MISSING_LEVEL,
    EvidentlyResult,
    _jensen_shannon,
    _prepare,
    distance_threshold,
    evidently_job,
    evidently_report,
)
from tests.fakes import random_customers


def scored(contract: Contract, rows: int, seed: int) -> pd.DataFrame:
    frame = random_customers(contract, rows, seed).drop(columns="churned")
    probability = np.random.default_rng(seed).beta(1, 5, rows)
    return frame.assign(churn_probability=probability, churn=probability >= 0.5)


def drifted(result: EvidentlyResult) -> list[str]:
    return [score.column for score in result.scores if score.drifted]


def reasons(result: EvidentlyResult) -> dict[str, str]:
    return {column.column: column.reason for column in result.skipped}


def test_the_distance_is_the_one_of_scipy() -> None:
    first, second = np.array([[0.2, 0.3, 0.5, 0.0]]), np.array([[0.1, 0.3, 0.4, 0.2]])

    assert _jensen_shannon(first, second)[0] == pytest.approx(distance.jensenshannon(first[0], second[0]), abs=1e-12)


def test_quiet_samples_exceed_a_distances_threshold_as_often_as_declared() -> None:
    random = np.random.default_rng(3)
    shares = [0.7, 0.2, 0.09, 0.01]
    alarms = 0
    for _ in range(200):
        first, second = random.choice(4, 2_000, p=shares), random.choice(4, 300, p=shares)
        counts = [np.bincount(sample, minlength=4)[None] / len(sample) for sample in (first, second)]
        threshold = distance_threshold(first.astype(str), second.astype(str), 0.05, seed=0)
        alarms += bool(_jensen_shannon(counts[0], counts[1])[0] > threshold)

    assert 2 <= alarms <= 20  # 10 expected; beyond these in 1 of 1,000 seeds


def test_a_larger_window_has_a_smaller_threshold() -> None:
    levels = np.array(["a", "b"] * 2_500)

    assert distance_threshold(levels, levels[:2_000], 0.001, 0) < distance_threshold(levels, levels[:100], 0.001, 0)


def test_broken_columns_are_named_with_their_reason_and_the_rest_stays(credit_card: Contract) -> None:
    reference, window = scored(credit_card, 300, 0), scored(credit_card, 200, 1)
    window["total_trans_amt"] = np.nan
    window["credit_limit"] = window["credit_limit"].astype(object)
    window.loc[3, "credit_limit"] = "a lot"
    window["total_trans_ct"] = math.inf
    window = window.drop(columns="gender")

    prepared = _prepare(credit_card, reference, window, seed=0, maximum_rows=5_000)

    assert {column.column: column.reason for column in prepared.skipped} == {
        "gender": "the window does not have this column",
        "credit_limit": "1 values in the window are not numbers, the first is 'a lot'",
        "total_trans_amt": "no value in the window",
        "total_trans_ct": "no finite value in the window",
    }
    assert len(prepared.columns) == 20 - 4
    assert MISSING_LEVEL in set(prepared.window["education_level"])


def test_a_sample_is_bounded_and_follows_its_seed(credit_card: Contract) -> None:
    frame = scored(credit_card, 500, 0)
    first, again, other = (_prepare(credit_card, frame, frame, seed, 100).window for seed in (1, 1, 2))

    assert len(first) == 100
    assert first.equals(again)
    assert not first.equals(other)


def test_an_empty_window_has_an_answer_without_evidently(credit_card: Contract) -> None:
    reference = scored(credit_card, 100, 0)

    result = evidently_job(credit_card, reference, reference.head(0))

    assert (result.scores, result.html, result.window_rows) == ((), None, 0)
    assert set(reasons(result).values()) == {"the window has no rows"}


@pytest.mark.integration
def test_exactly_the_shifted_columns_drift(credit_card: Contract) -> None:
    reference, window = scored(credit_card, 5_000, 0), scored(credit_card, 1_000, 1)
    window["total_trans_amt"] += window["total_trans_amt"].std() / 2
    window.loc[:200, "marital_status"] = None

    result = evidently_report(credit_card, reference, window)

    assert drifted(result) == ["marital_status", "total_trans_amt"]
    assert {score.method for score in result.scores} == {"ks", "jensenshannon"}
    assert [score.column for score in result.scores] == [*credit_card.feature_names, "churn_probability", "churn"]


@pytest.mark.integration
@pytest.mark.parametrize("fault", ["one row", "constant", "infinite", "all null", "text", "new level", "true and null"])
def test_no_content_of_a_window_raises(credit_card: Contract, fault: str) -> None:
    reference, window = scored(credit_card, 300, 0), scored(credit_card, 100, 1)
    if fault == "one row":
        window = window.head(1)
    elif fault == "constant":
        window["total_trans_amt"] = reference["total_trans_amt"] = 1.0
        window["gender"] = reference["gender"] = "F"
    elif fault == "infinite":
        window.loc[::2, "total_trans_amt"] = math.inf
    elif fault == "all null":
        window = window.assign(**dict.fromkeys(window.columns))
    elif fault == "text":
        window = window.astype(str)
    elif fault == "new level":
        window["gender"] = "never seen"
    else:
        window["churn"] = [True, None] * 50

    result = evidently_report(credit_card, reference, window)

    assert len(result.scores) + len(result.skipped) == 20
    assert all(math.isfinite(score.score) for score in result.scores)


@pytest.mark.integration
def test_a_process_of_its_own_gives_the_same_scores_and_a_page(credit_card: Contract, tmp_path: Path) -> None:
    reference, window = scored(credit_card, 400, 0), scored(credit_card, 300, 1)
    window["gender"] = None

    there = evidently_job(credit_card, reference, window, tmp_path / "page.html", seed=5, maximum_rows=200)
    here = evidently_report(credit_card, reference, window, seed=5, maximum_rows=200)

    assert [score.column for score in there.scores] == [score.column for score in here.scores]
    # Evidently adds up a set of levels, whose order, and so the last digit, differs from process to process.
    assert [score.score for score in there.scores] == pytest.approx([score.score for score in here.scores], abs=1e-12)
    assert reasons(there) == {"gender": "no value in the window"}
    assert (tmp_path / "page.html").read_bytes() == there.html
    assert there.html is not None
    assert b"<html" in there.html
