"""The few distributions that tests of drift read their chances off, on numpy and the standard library alone.

scipy has them too, among 140 MB that no service needs for anything else. Each agrees with scipy to 12 digits (tested).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_NO_DISTANCE = 0.05
"""Below it the chance is 1, to two hundred digits."""
_LARGE_DISTANCE = 1.0
"""Two series give Kolmogorov's distribution: above this one needs five terms, below it the other does."""


def normal_below(z: ArrayLike) -> Floats:
    """The chance that a standard normal number is at most z; exact far into the lower tail."""
    wanted = np.asarray(z, dtype=np.float64)
    flat = [0.5 * math.erfc(-value / math.sqrt(2.0)) for value in wanted.ravel().tolist()]
    return np.array(flat, dtype=np.float64).reshape(wanted.shape)


def chi_square_above(degrees: int, statistic: float) -> float:
    """The chance of a chi-square number above `statistic`, with a whole number of degrees of freedom, 1 or more.

    The finite sums of Abramowitz and Stegun, 26.4.4 and 26.4.5: every term is positive, so none cancels another.
    """
    if statistic <= 0.0:
        return 1.0
    half = statistic / 2.0
    odd = degrees % 2
    above = math.erfc(math.sqrt(half)) if odd else 0.0
    # In logarithms: a power and a factorial of hundreds of cells are beyond a float each, their ratio is not.
    powers = (step + odd / 2 for step in range(degrees // 2))
    terms = (math.exp(power * math.log(half) - half - math.lgamma(power + 1.0)) for power in powers)
    return min(1.0, above + math.fsum(terms))


def kolmogorov_above(distance: float) -> float:
    """The chance that the largest distance of two cumulative shares, times the root of n, is above `distance`."""
    if distance < _NO_DISTANCE:
        return 1.0
    if distance < _LARGE_DISTANCE:
        rate = math.pi**2 / (8.0 * distance**2)
        below = math.fsum(math.exp(-rate * odd**2) for odd in range(1, 12, 2))
        return 1.0 - math.sqrt(2.0 * math.pi) / distance * below
    return 2.0 * math.fsum((-1) ** (k - 1) * math.exp(-2.0 * (k * distance) ** 2) for k in range(1, 8))


def log_factorial(counts: Floats) -> Floats:
    """The natural logarithm of each count's factorial."""
    return np.fromiter(map(math.lgamma, (counts + 1.0).tolist()), dtype=np.float64, count=len(counts))


def x_log_y(x: NDArray[np.generic], y: Floats) -> Floats:
    """x times the logarithm of y, and 0 where x is 0, whatever y is."""
    used = x != 0
    return np.where(used, x * np.log(np.where(used, y, 1.0)), 0.0)
