"""Do two samples come from one population? Tests on binned counts that count the sampling error of both samples.

Each takes the counts of a reference and of a window in the same cells and answers an `Outcome` with its p-value. All
treat the two samples alike, so they hold at any size of either. What binning costs is power, never false alarms.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from churn.distributions import chi_square_above, kolmogorov_above, log_factorial, normal_below, x_log_y

Counts = NDArray[np.int64]
Shares = NDArray[np.float64]

SMALLEST_EXPECTED = 5.0
"""A chi-square cell must expect so many rows in each sample; rarer cells are pooled (W. G. Cochran, Biometrics 10,
1954)."""
LARGEST_EXACT = 2_000
"""Above so many rows in its smaller margin, an exact two-share test gives way to chi-square, which then equals it."""


class Outcome(NamedTuple):
    """The outcome of one test: its name, its statistic and the chance of one as large when nothing has changed."""

    method: str
    statistic: float
    p_value: float


def kolmogorov_smirnov(reference: Counts, window: Counts) -> Outcome:
    """The largest distance D between the two cumulative shares, over the cells' borders.

    p from Kolmogorov's distribution at (sqrt(n) + 0.12 + 0.11 / sqrt(n)) D, with n = r w / (r + w) of both sizes
    (M. A. Stephens, J. Royal Statistical Society B 32, 1970). Within a cell D is not seen, so p is never too small.
    """
    rows, window_rows = int(reference.sum()), int(window.sum())
    root = math.sqrt(rows * window_rows / (rows + window_rows))
    distance = float(np.abs(np.cumsum(reference) / rows - np.cumsum(window) / window_rows).max())
    return Outcome("ks", distance, kolmogorov_above((root + 0.12 + 0.11 / root) * distance))


def rank_sum(reference: Counts, window: Counts) -> Outcome:
    """Wilcoxon's rank sum with mid-ranks for the rows of a cell: the sharper eye for a shift of the whole column.

    z with the variance corrected for ties, two-sided (E. L. Lehmann, Nonparametrics, 1975, section 1.4).
    """
    rows, window_rows = int(reference.sum()), int(window.sum())
    total = rows + window_rows
    ties = (reference + window).astype(np.float64)
    ranks = np.cumsum(ties) - (ties - 1.0) / 2.0
    spread = (total + 1.0) - float((ties**3 - ties).sum()) / (total * (total - 1.0))
    variance = rows * window_rows / 12.0 * spread
    if variance <= 0.0:
        return Outcome("rank_sum", 0.0, 1.0)
    z = (float((window * ranks).sum()) - window_rows * (total + 1.0) / 2.0) / math.sqrt(variance)
    return Outcome("rank_sum", z, 2.0 * float(normal_below(-abs(z))))


def homogeneity(reference: Counts, window: Counts) -> Outcome:
    """Chi-square on a table of two rows, rare cells pooled; with two cells left, the exact test instead.

    The statistic is Pearson's. The chance is the larger of Pearson's and the likelihood ratio's: in small windows the
    first errs in cells that gained, the second in cells that lost, and alone either gives up to 1.5 times the false
    alarms it promises at 1 in 1,000.
    """
    pooled = _pool(reference, window)
    if pooled.shape[1] < 2:
        return Outcome("chi_square", 0.0, 1.0)
    if pooled.shape[1] == 2:
        return two_shares("exact", int(pooled[0, 0]), int(pooled[0].sum()), int(pooled[1, 0]), int(pooled[1].sum()))
    return _chi_square(pooled)


def two_shares(method: str, hits: int, rows: int, window_hits: int, window_rows: int) -> Outcome:
    """Fisher's exact test, two-sided: all tables as rare as this one or rarer. The statistic is the shares' difference.

    Given both margins the window's hits are hypergeometric (R. A. Fisher, J. Royal Statistical Society 98, 1935).
    """
    difference = window_hits / window_rows - hits / rows
    total, all_hits = rows + window_rows, hits + window_hits
    if min(all_hits, total - all_hits, window_rows) > LARGEST_EXACT:
        table = np.array([[hits, rows - hits], [window_hits, window_rows - window_hits]])
        return Outcome(method, difference, _chi_square(table).p_value)
    low, high = max(0, window_rows - (total - all_hits)), min(all_hits, window_rows)
    k = np.arange(low, high + 1, dtype=np.float64)
    logs = -log_factorial(k) - log_factorial(all_hits - k)
    logs -= log_factorial(window_rows - k) + log_factorial(total - all_hits - window_rows + k)
    chances = np.exp(logs - logs.max())
    rarer = chances <= chances[window_hits - low] * (1.0 + 1e-7)  # equal ones differ by rounding
    return Outcome(method, difference, min(1.0, float(chances[rarer].sum() / chances.sum())))


def holm(p_values: list[float]) -> list[float]:
    """Adjusted p-values: alarming where one is at most b keeps the chance of any false alarm at b, however the tests
    depend on each other (S. Holm, Scandinavian Journal of Statistics 6, 1979)."""
    adjusted = [1.0] * len(p_values)
    running = 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        running = max(running, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = running
    return adjusted


def js_distance(reference: Counts, window: Counts) -> float:
    """Jensen-Shannon distance, base 2: 0 for equal shares, 1 for shares without a common cell (J. Lin, IEEE
    Transactions on Information Theory 37, 1991; the root is a metric)."""
    return math.sqrt(_divergence(reference, window))


def effect_size(reference: Counts, window: Counts) -> float:
    """`js_distance` without the part that sampling alone brings, so that it means the same at any number of rows.

    With k cells in use, equal populations give a divergence of about (k - 1)(1/r + 1/w) / (8 ln 2) bits: its first
    term in the shares' differences is an eighth of a chi-square distance.
    """
    used = int(np.count_nonzero(reference + window))
    noise = (used - 1) * (1 / int(reference.sum()) + 1 / int(window.sum())) / (8 * math.log(2))
    return math.sqrt(max(0.0, _divergence(reference, window) - noise))


def psi(reference: Counts, window: Counts) -> float:
    """Population stability index, half a row added to each cell so that an empty one stays finite."""
    expected = (reference + 0.5) / (reference.sum() + 0.5 * len(reference))
    actual = (window + 0.5) / (window.sum() + 0.5 * len(window))
    return float(((actual - expected) * np.log(actual / expected)).sum())


def _divergence(reference: Counts, window: Counts) -> float:
    p, q = reference / reference.sum(), window / window.sum()
    middle = (p + q) / 2
    return max(0.0, _entropy(middle) - (_entropy(p) + _entropy(q)) / 2)


def _entropy(shares: Shares) -> float:
    used = shares[shares > 0]
    return float(-(used * np.log2(used)).sum())


def _chi_square(table: Counts) -> Outcome:
    totals = table.sum(axis=0)
    expected = np.outer(table.sum(axis=1), totals) / totals.sum()
    pearson = float(((table - expected) ** 2 / expected).sum())
    likelihood_ratio = 2.0 * float(x_log_y(table, table / expected).sum())
    return Outcome("chi_square", pearson, chi_square_above(table.shape[1] - 1, min(pearson, likelihood_ratio)))


def _pool(reference: Counts, window: Counts) -> Counts:
    """The used cells as a table of two rows; the rarest are one cell, as long as it expects too few or two are left."""
    table = np.stack([reference, window])
    totals = table.sum(axis=0)
    order = np.argsort(totals, kind="stable")
    order = order[totals[order] > 0]
    smaller_share = table.sum(axis=1).min() / max(1, int(totals.sum()))
    pooled = 1
    while pooled < len(order) - 1 and totals[order[:pooled]].sum() * smaller_share < SMALLEST_EXPECTED:
        pooled += 1
    if not len(order):
        return table[:, :0]
    return np.concatenate([table[:, order[:pooled]].sum(axis=1, keepdims=True), table[:, order[pooled:]]], axis=1)
