"""Figures and intervals of two models on the same rows."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from churn.contract import Decision
from orchestration.comparison import base_rate_log_loss, compare
from orchestration.replay import Answers, Floats

DECISION = Decision(offer_cost=10, kept_value=100, success_rate=0.3)


def given(scores: Floats, threshold: float = 0.5) -> Answers:
    return Answers(scores, scores >= threshold, np.zeros(len(scores), dtype=bool))


def customers(rows: int, seed: int = 0) -> tuple[Floats, np.ndarray]:
    random = np.random.default_rng(seed)
    chances = np.round(random.beta(1, 4, rows), 2)  # rounded, so that there are ties
    return chances.clip(0.01, 0.99), random.random(rows) < chances


def test_the_figures_are_those_of_the_books() -> None:
    scores, churned = customers(2_000)
    judged, _, _ = compare(churned, DECISION, given(scores, 0.4), None)
    contacted = scores >= 0.4
    profit = 1_000 * (20 * (contacted & churned).sum() - 10 * (contacted & ~churned).sum()) / 2_000
    values = {name: figure.value for name, figure in judged.figures.items()}

    assert values == pytest.approx(
        {
            "auc": roc_auc_score(churned, scores),
            "log_loss": log_loss(churned, scores),
            "brier": brier_score_loss(churned, scores),
            "recall": contacted[churned].mean(),
            "precision": churned[contacted].mean(),
            "contacted_share": contacted.mean(),
            "profit_per_1000": profit,
        },
        abs=1e-12,
    )
    assert all(figure.low <= figure.value <= figure.high for figure in judged.figures.values())


def test_a_model_does_not_differ_from_itself() -> None:
    scores, churned = customers(500)
    _, _, difference = compare(churned, DECISION, given(scores), given(scores))

    assert all((one.value, one.low, one.high) == (0, 0, 0) for one in difference.values())


def test_pairing_finds_a_small_difference_that_single_intervals_hide() -> None:
    scores, churned = customers(3_000)
    worse = np.clip(scores + np.where(np.arange(3_000) % 2, 0.05, -0.05), 0.01, 0.99)
    better, other, difference = compare(churned, DECISION, given(worse), given(scores))

    assert other is not None
    assert better.figures["log_loss"].low < other.figures["log_loss"].high
    assert difference["log_loss"].low > 0


def test_the_interval_of_the_difference_covers_the_truth_nineteen_times_in_twenty() -> None:
    """Two models equally good in truth, each with noise of its own: zero lies inside in 95 % of samples."""
    covered = 0
    for seed in range(60):
        random = np.random.default_rng(1_000 + seed)
        log_odds = random.normal(-1.5, 1.2, 600)
        churned = random.random(600) < 1 / (1 + np.exp(-log_odds))
        one, other = (1 / (1 + np.exp(-(log_odds + random.normal(0, 0.4, 600)))) for _ in range(2))
        difference = compare(churned, DECISION, given(one), given(other), seed=seed)[2]["log_loss"]
        covered += difference.low <= 0 <= difference.high

    assert 52 <= covered <= 60


def test_no_one_contacted_has_no_precision() -> None:
    scores, churned = customers(300)
    judged, _, _ = compare(churned, DECISION, given(scores, 2.0), None)

    assert "precision" not in judged.figures
    assert judged.figures["profit_per_1000"].value == 0


def test_the_base_rate_scores_its_entropy() -> None:
    assert base_rate_log_loss(np.array([True, False])) == pytest.approx(np.log(2))
