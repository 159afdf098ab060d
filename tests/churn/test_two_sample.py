"""The tests agree with published implementations where those exist, and hold their level where they approximate."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from churn.two_sample import (
    effect_size,
    holm,
    homogeneity,
    js_distance,
    kolmogorov_smirnov,
    psi,
    rank_sum,
    two_shares,
)


def counts(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def test_the_exact_test_of_two_shares_equals_scipys() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        rows, window_rows = int(random.integers(1, 400)), int(random.integers(1, 60))
        hits, window_hits = int(random.integers(0, rows + 1)), int(random.integers(0, window_rows + 1))
        expected = stats.fisher_exact([[hits, rows - hits], [window_hits, window_rows - window_hits]])[1]

        assert two_shares("exact", hits, rows, window_hits, window_rows).p_value == pytest.approx(expected, rel=1e-6)


def test_two_shares_of_millions_of_rows_are_judged_without_listing_every_table() -> None:
    same = two_shares("exact", 500_000, 1_000_000, 1_000_000, 2_000_000)
    moved = two_shares("exact", 500_000, 1_000_000, 1_010_000, 2_000_000)

    assert same.p_value == pytest.approx(1.0)
    assert moved.p_value < 1e-12


def test_the_rank_sum_equals_scipys_with_ties() -> None:
    reference, window = counts(40, 10, 25, 25), counts(5, 9, 12, 4)
    samples = [np.repeat(np.arange(4), side) for side in (window, reference)]
    expected = stats.mannwhitneyu(*samples, use_continuity=False, method="asymptotic").pvalue

    assert rank_sum(reference, window).p_value == pytest.approx(expected, rel=1e-9)


def test_the_kolmogorov_distance_equals_scipys_and_the_chance_is_close_to_exact() -> None:
    random = np.random.default_rng(1)
    old, new = random.normal(size=2_000), random.normal(0.3, size=300)
    edges = np.unique(np.concatenate([old, new]))
    exact = stats.ks_2samp(old, new, method="exact")
    found = kolmogorov_smirnov(
        *(np.bincount(np.searchsorted(edges, side), minlength=len(edges)) for side in (old, new))
    )

    assert found.statistic == pytest.approx(exact.statistic)
    assert found.p_value == pytest.approx(exact.pvalue, rel=0.3)


def test_homogeneity_takes_the_more_careful_of_the_two_chi_squares_of_the_books() -> None:
    table = np.stack([counts(200, 300, 500), counts(30, 30, 40)])
    pearson = stats.chi2_contingency(table, correction=False)
    ratio = stats.chi2_contingency(table, correction=False, lambda_="log-likelihood")
    found = homogeneity(table[0], table[1])

    assert (found.statistic, found.p_value) == pytest.approx((pearson.statistic, max(pearson.pvalue, ratio.pvalue)))


def test_rare_levels_are_judged_together_and_two_levels_exactly() -> None:
    reference, window = counts(4_600, 300, 60, 40), counts(44, 4, 1, 1)

    assert homogeneity(reference, window) == two_shares("exact", 400, 5_000, 6, 50)


def test_a_single_level_leaves_nothing_to_compare() -> None:
    assert homogeneity(counts(0, 70), counts(0, 8)).p_value == 1.0
    assert homogeneity(counts(0, 0), counts(0, 0)).p_value == 1.0
    assert rank_sum(counts(70), counts(8)).p_value == 1.0


@pytest.mark.parametrize("window_rows", [50, 200, 1_000])
def test_small_chances_are_right_at_small_windows(window_rows: int) -> None:
    """Levels as uneven as in real life: at most 1 in 1,000 quiet windows falls under a chance of 1 in 1,000."""
    random = np.random.default_rng(2)
    shares = np.array([0.55, 0.25, 0.1, 0.06, 0.03, 0.01])
    p_values = np.array(
        [
            homogeneity(random.multinomial(5_000, shares), random.multinomial(window_rows, shares)).p_value
            for _ in range(20_000)
        ]
    )

    assert (p_values <= 0.001).mean() <= 0.001 + 2 * np.sqrt(0.001 / 20_000)


def test_holm_adjusts_step_by_step() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


def test_distances_are_zero_for_equal_shares_and_one_for_shares_apart() -> None:
    assert js_distance(counts(10, 30), counts(1, 3)) == pytest.approx(0.0, abs=1e-7)
    assert js_distance(counts(10, 0), counts(0, 7)) == pytest.approx(1.0)
    assert psi(counts(500, 500), counts(500, 500)) == pytest.approx(0.0)


def test_an_effect_does_not_depend_on_the_number_of_rows() -> None:
    """Where sampling alone gives a distance of 0.13 at 200 rows, the effect of no change is about nothing."""
    random = np.random.default_rng(3)
    shares = np.full(20, 0.05)
    quiet = [effect_size(random.multinomial(5_000, shares), random.multinomial(200, shares)) for _ in range(200)]
    moved = np.linspace(0.02, 0.08, 20)
    effects = {
        rows: np.mean(
            [effect_size(random.multinomial(5_000, shares), random.multinomial(rows, moved)) for _ in range(200)]
        )
        for rows in (200, 5_000)
    }

    assert np.mean(quiet) < 0.04
    assert effects[200] == pytest.approx(effects[5_000], abs=0.01)
