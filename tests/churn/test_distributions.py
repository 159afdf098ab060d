"""The distributions agree with scipy's, over all that a test of drift may ask of them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from churn.distributions import chi_square_above, kolmogorov_above, log_factorial, normal_below, x_log_y


def test_the_normal_distribution_is_scipys_also_far_below() -> None:
    z = np.linspace(-37, 9, 4_001).reshape(-1, 1)

    assert normal_below(z).shape == z.shape
    np.testing.assert_allclose(normal_below(z), special.ndtr(z), rtol=1e-12)


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 7, 20, 101, 1_000])
def test_chi_square_is_scipys_from_certain_to_impossible(degrees: int) -> None:
    statistics = np.concatenate([[0.0, 1e-12], np.linspace(0.01, 3 * degrees + 200, 500), [1e6]])

    found = [chi_square_above(degrees, float(each)) for each in statistics]

    np.testing.assert_allclose(found, special.chdtrc(degrees, statistics), rtol=2e-12, atol=1e-300)


def test_kolmogorovs_distribution_is_scipys_on_both_sides_of_where_the_series_change() -> None:
    distances = np.concatenate([[-1.0, 0.0, 1e-200], np.linspace(0.01, 12, 3_000), [1 - 1e-12, 1.0, 1 + 1e-12]])

    found = [kolmogorov_above(float(each)) for each in distances]

    np.testing.assert_allclose(found, special.kolmogorov(np.maximum(distances, 0)), rtol=1e-12)


def test_factorials_are_scipys() -> None:
    counts = np.array([0, 1, 2, 10, 170, 171, 5_000, 10_000_000], np.float64)

    np.testing.assert_allclose(log_factorial(counts), special.gammaln(counts + 1), rtol=1e-14, atol=1e-15)


def test_nothing_times_the_logarithm_of_nothing_is_nothing() -> None:
    x, y = np.array([0, 0, 2, 3]), np.array([0.0, np.nan, 1.0, np.e])

    np.testing.assert_allclose(x_log_y(x, y), [0, 0, 0, 3])
