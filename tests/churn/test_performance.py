"""Realised figures are those of the books; the estimate agrees with them where its assumption holds, else says no."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn import metrics
from sklearn.isotonic import IsotonicRegression

from churn.contract import Decision
from churn.performance import Performance, auc, estimated, realised, recalibrate

RANDOM = np.random.default_rng


def population(rows: int, seed: int = 0, sharpness: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Scores that are true chances, and labels drawn by them."""
    random = RANDOM(seed)
    chances = 1 / (1 + np.exp(-(sharpness * random.normal(size=rows) - 2)))
    return chances, random.random(rows) < chances


def test_realised_figures_equal_scikit_learns() -> None:
    scores, churned = population(2_000)
    flagged = scores >= 0.3
    found = {name: figure.value for name, figure in realised(scores, flagged, churned, 2_500).figures.items()}

    assert found["auc"] == pytest.approx(metrics.roc_auc_score(churned, scores))
    assert found["log_loss"] == pytest.approx(metrics.log_loss(churned, scores))
    assert found["recall"] == pytest.approx(metrics.recall_score(churned, flagged))
    assert found["precision"] == pytest.approx(metrics.precision_score(churned, flagged))
    assert found["f1"] == pytest.approx(metrics.f1_score(churned, flagged))
    assert found["churn_rate"] == churned.mean()


def test_ties_count_half_in_the_auc() -> None:
    scores, churned = population(500)
    rounded = scores.round(1)

    assert auc(rounded, churned) == pytest.approx(metrics.roc_auc_score(churned, rounded))


def test_profit_is_what_the_contract_says_a_decision_is_worth() -> None:
    scores, churned = population(1_000)
    flagged = scores >= 0.3
    decision = Decision(offer_cost=25, kept_value=300, success_rate=0.3)
    found = realised(scores, flagged, churned, 1_000, decision).figures["profit"]
    caught, contacted = int((flagged & churned).sum()), int(flagged.sum())

    assert found.value == pytest.approx(caught * 90 - contacted * 25)
    assert found.low < found.value < found.high


def test_coverage_says_whether_a_cohort_is_mature() -> None:
    scores, churned = population(1_000)

    assert not realised(scores[:700], scores[:700] > 0.3, churned[:700], 1_000).mature
    assert realised(scores[:800], scores[:800] > 0.3, churned[:800], 1_000).mature


def test_too_few_labels_of_one_kind_give_a_reason_and_no_figures() -> None:
    found = realised(np.full(30, 0.2), np.zeros(30, bool), np.arange(30) < 9, 100)

    assert found.figures == {}
    assert found.reason == "30 labels, 9 of them left: at least 10 of each kind are needed"


def test_no_labels_at_all_are_a_reason_too() -> None:
    assert realised(np.zeros(0), np.zeros(0, bool), np.zeros(0, bool), 100).reason.startswith("0 labels")


def test_recalibration_is_isotonic_regression_but_never_certain() -> None:
    scores, churned = population(3_000)
    curve = recalibrate(scores, churned)
    expected = IsotonicRegression().fit(scores, churned).predict(scores)

    assert np.abs(curve(scores) - expected).mean() < 0.02
    assert np.all(np.diff(curve.chances) >= 0)
    assert curve.chances.min() > 0
    assert curve.chances.max() < 1


def test_recalibration_mends_scores_that_are_all_too_high() -> None:
    chances, churned = population(5_000)
    inflated = np.sqrt(chances)

    assert recalibrate(inflated, churned)(inflated).mean() == pytest.approx(churned.mean(), abs=0.01)


@pytest.mark.parametrize("weight", [-0.5, 0.0, 0.5])
def test_estimates_meet_the_realised_figures_under_a_changed_population(weight: float) -> None:
    """In 100 windows of 1,000 rows, the population tilted to lower or higher scores."""
    reference, labels = population(5_000, seed=1, sharpness=3.0)
    curve = recalibrate(reference, labels)
    scores, churned = population(40_000, seed=2, sharpness=3.0)
    tilt = np.exp(weight * np.log(scores / (1 - scores)))
    random, inside, errors = RANDOM(3), [], []
    for _ in range(100):
        chosen = random.choice(len(scores), 1_000, replace=False, p=tilt / tilt.sum())
        flagged = scores[chosen] >= 0.3
        guess = estimated(scores[chosen], flagged, curve).figures
        truth = realised(scores[chosen], flagged, churned[chosen], 1_000).figures
        errors.append(abs(guess["auc"].value - truth["auc"].value))
        inside += [guess[name].low <= truth[name].value <= guess[name].high for name in ("auc", "recall", "log_loss")]

    assert np.quantile(errors, 0.95) <= 0.03
    assert 0.90 <= np.mean(inside) <= 0.995


def test_an_estimate_of_a_million_rows_is_made_from_a_sample() -> None:
    scores, _ = population(300_000)
    reference, labels = population(5_000, seed=1)
    found = estimated(scores, scores > 0.3, recalibrate(reference, labels), Decision())

    assert found.rows == 300_000
    assert found.figures["profit"].low < found.figures["profit"].value < found.figures["profit"].high


def test_scores_that_no_label_was_seen_at_are_not_guessed_about() -> None:
    reference, labels = population(5_000)
    curve = recalibrate(reference * 0.5, labels)
    found = estimated(np.linspace(0.3, 0.9, 1_000), np.ones(1_000, bool), curve)

    assert found.figures == {}
    assert found.reason.startswith("cannot estimate: 6")


def test_a_window_with_hardly_a_leaver_is_not_guessed_about() -> None:
    reference, labels = population(5_000)
    curve = recalibrate(reference, labels)
    found = estimated(np.full(50, float(np.median(reference))), np.zeros(50, bool), curve)

    assert found.reason == "cannot estimate: about 5 of 50 rows will leave"


def test_performance_survives_json() -> None:
    scores, churned = population(500)
    found = realised(scores, scores > 0.3, churned, 500, Decision())

    assert Performance.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found
