"""Metrics and thresholds, on numbers small enough to check by hand."""

from __future__ import annotations

import numpy as np
import pytest

from churn.contract import Decision
from orchestration.evaluation import align, choose_threshold, decision_metrics, log_loss_of_log_odds, ranking_metrics

PROBABILITIES = np.array([0.9, 0.8, 0.7, 0.4, 0.3, 0.1])
LABELS = np.array([True, False, True, False, True, False])
# Each leaver who is contacted yields 30 - 10, each stayer costs 10.
DECISION = Decision(offer_cost=10, kept_value=100, success_rate=0.3, capacity=1.0)


def test_the_threshold_takes_the_most_profit() -> None:
    """Profits by how many are contacted: 20, 10, 30, 20, 40, 30."""
    assert choose_threshold(PROBABILITIES, LABELS, DECISION) == pytest.approx((0.3 + 0.1) / 2)


def test_the_threshold_keeps_to_the_capacity() -> None:
    half = Decision(offer_cost=10, kept_value=100, success_rate=0.3, capacity=0.5)

    assert choose_threshold(PROBABILITIES, LABELS, half) == pytest.approx((0.7 + 0.4) / 2)


def test_nobody_is_contacted_when_every_contact_loses() -> None:
    dear = Decision(offer_cost=1_000, kept_value=100, success_rate=0.3)
    threshold = choose_threshold(PROBABILITIES, LABELS, dear)

    assert not np.any(threshold <= PROBABILITIES)
    assert threshold > 1.0


def test_a_recall_target_is_reached_by_the_highest_threshold_that_can() -> None:
    target = Decision(recall_target=0.6)

    assert choose_threshold(PROBABILITIES, LABELS, target) == pytest.approx((0.7 + 0.4) / 2)


def test_equal_scores_stay_on_one_side() -> None:
    probabilities = np.array([0.5, 0.5, 0.5, 0.2])
    labels = np.array([True, True, False, False])
    threshold = choose_threshold(probabilities, labels, Decision(offer_cost=1, kept_value=10, capacity=0.5))

    assert threshold > 1.0  # three are tied and only two may be contacted


def test_decision_metrics_are_counted() -> None:
    assert decision_metrics(PROBABILITIES, LABELS, 0.5, DECISION) == {
        "recall": pytest.approx(2 / 3),
        "precision": pytest.approx(2 / 3),
        "contacted_share": pytest.approx(1 / 2),
        "profit_per_1000": pytest.approx(1_000 * 30 / 6),
    }


def test_ranking_metrics_are_those_of_the_textbook() -> None:
    metrics = ranking_metrics(PROBABILITIES, LABELS)

    assert metrics["auc"] == pytest.approx(6 / 9)
    assert metrics["brier"] == pytest.approx(np.mean([0.01, 0.64, 0.09, 0.16, 0.49, 0.01]))
    assert metrics["log_loss"] == pytest.approx(-np.mean(np.log([0.9, 0.2, 0.7, 0.6, 0.3, 0.9])))


def test_log_loss_of_large_log_odds_is_finite() -> None:
    assert log_loss_of_log_odds(np.array([1_000.0, -1_000.0]), np.array([True, True])) == pytest.approx(500.0)


def test_align_gives_one_sample_the_spread_of_another() -> None:
    random = np.random.default_rng(0)
    scores = random.normal(0, 1, 4_000)
    aligned = align(scores, scores, 2 * scores + 3)

    assert aligned == pytest.approx(2 * scores + 3, abs=0.05)
    assert align(np.array([-100.0, 100.0]), scores, scores + 1) == pytest.approx([-99.0, 101.0])
