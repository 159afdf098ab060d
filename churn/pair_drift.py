"""Do any two columns go together otherwise than they did? Every pair is compared, in some milliseconds.

Two columns of one sample have Spearman's correlation, which needs only their ranks, here those among the reference's
values. Its sampling variance is taken from the rows' own fourth moments, so that it holds for any dependence, for ties
and for levels as well as for numbers (J. H. Steiger and A. R. Hakstian, The asymptotic distribution of elements of a
correlation matrix, British J. of Mathematical and Statistical Psychology 35, 1982): with standardised ranks x and y a
row contributes xy - r (xx + yy) / 2, whose variance over the rows, divided by their number, is that of r. Correlations
of reference and window are compared after Fisher's transformation, which evens out their tails (R. A. Fisher, Metron 1,
1921), with the errors of both, and the chances are corrected over the pairs (Bonferroni).

A missing value is put at its column's mean, where it adds to no covariance. Columns of one feature, "plan=basic" and
"plan=gold", are no pair. What has no sign, such as a dependence that rises here and falls there, is not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from churn.distributions import normal_below

Matrix = NDArray[np.float32]
Numbers = NDArray[np.float64]

RAREST_ROWS = 25
"""Two columns are compared when on either side so many rows would, if they had nothing to do with each other, be of
another value than the commonest in both: with fewer the chances are too small in the far tail, where a correction over
hundreds of pairs needs them."""
STRONGEST = 0.999
"""Fisher's transformation has no end; a correlation beyond is as good as one."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two encoded columns, their rank correlation in the reference and in the window, and the chance of such a
    difference by sampling alone, corrected over all pairs."""

    first: str
    second: str
    before: float
    now: float
    p_value: float


@dataclass(frozen=True, slots=True)
class _Moments:
    """Of every two columns the correlation, its sampling variance, and whether they vary enough to be compared."""

    correlation: Numbers
    variance: Numbers
    usable: NDArray[np.bool_]


class PairReference:
    """What a window's pairs are compared with. Immutable, and safe to share."""

    def __init__(self, rows: Matrix, columns: Sequence[str]) -> None:
        self._columns = tuple(columns)
        self._known = [np.sort(column[~np.isnan(column)]).astype(np.float64) for column in rows.T]
        features = np.array([name.split("=", 1)[0] for name in columns])
        self._first, self._second = np.nonzero(np.triu(features[:, None] != features[None, :]))
        self._moments = self._measure(rows)

    def compare(self, window: Matrix) -> list[Pair]:
        """Every pair that can be compared, the one that changed most surely first."""
        now, before = self._measure(window), self._moments
        usable = (now.usable & before.usable)[self._first, self._second]
        first, second = self._first[usable], self._second[usable]
        r, r_now = before.correlation[first, second], now.correlation[first, second]
        error = np.sqrt(
            before.variance[first, second] / (1 - r**2) ** 2 + now.variance[first, second] / (1 - r_now**2) ** 2
        )
        apart = np.abs(np.arctanh(r_now) - np.arctanh(r))
        chances = 2 * normal_below(-np.divide(apart, error, out=np.zeros_like(apart), where=error > 0))
        corrected = np.minimum(1.0, np.asarray(chances) * len(first))
        return [
            Pair(
                self._columns[first[place]],
                self._columns[second[place]],
                round(float(r[place]), 4),
                round(float(r_now[place]), 4),
                float(corrected[place]),
            )
            for place in np.argsort(corrected, kind="stable")
        ]

    def _measure(self, rows: Matrix) -> _Moments:
        x = np.zeros((max(1, len(rows)), rows.shape[1]))  # of no rows one that says nothing
        uncommon = np.zeros(rows.shape[1])
        for place, known in enumerate(self._known):
            present = ~np.isnan(rows[:, place])
            values = rows[present, place].astype(np.float64)
            if not len(known) or not len(values):
                continue
            uncommon[place] = len(values) - np.unique(values, return_counts=True)[1].max()
            ranks = np.searchsorted(known, values, "left") + np.searchsorted(known, values, "right")
            x[: len(rows)][present, place] = ranks - ranks.mean()
            deviation = x[:, place].std()
            x[:, place] /= deviation if deviation > 0 else 1.0
        n, squares = len(x), x**2
        r = np.clip(x.T @ x / n, -STRONGEST, STRONGEST)
        both, cubes, fourth = squares.T @ squares / n, (squares * x).T @ x / n, (squares**2).mean(axis=0)
        mean_fourth = (fourth[:, None] + fourth[None, :] + 2 * both) / 4
        variance = np.maximum(0.0, both - r * (cubes + cubes.T) + r**2 * mean_fourth) / n
        return _Moments(r, variance, np.outer(uncommon, uncommon) / n >= RAREST_ROWS)
