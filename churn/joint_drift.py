"""What no column shows by itself: do features go together as they did? Three tests tell, within one budget.

**Agreement.** From the reference, once, trees learn to foretell each column from the other features. In the window each
column should agree with what is foretold of it as it does in the reference: where it no longer goes with the others,
or goes with them otherwise, the covariance of the two changes, and Welch's test compares it. It adds up all that a
column's many weak ties say: of 20 columns, a correlation of 0.12 with what is foretold that is gone is found in 5,000
rows, of as many in the reference, by 19 looks of 20. Chances are corrected over the columns (Bonferroni). To foretell
is to regress on the others, so the test is the one of the generalised covariance measure (Shah and Peters, The hardness
of conditional independence testing, Annals of Statistics 48, 2020), of two samples instead of one.

Fair to the reference: each of its rows is foretold by trees that did not see it (cross-fitting; Chernozhukov et al.,
Double/debiased machine learning, Econometrics Journal 21, 2018), and a window's rows are dealt out among those very
sets of trees, so that where nothing changed the two sides differ by chance alone, however much or little was learnt.

**Domain classifier.** Trees learn to tell reference rows from window rows on one half of both; on the other half their
scores are compared by the rank-sum test (Lopez-Paz and Oquab, Revisiting classifier two-sample tests, ICLR 2017; Kim et
al., Classification accuracy as a proxy for two-sample testing, Annals of Statistics 49, 2021). They see each row's
agreements beside its features. Where nothing changed, scores say nothing about which side a row is from, whatever the
trees have learnt, so the chance is right at any size. It finds what has no sign: other tails, or one segment only.

**Pairs.** The correlation of every two columns (churn/pair_drift.py). It finds at once what neither of the others is
made for: columns that had nothing to do with each other and now have.

Beside churn/xgboost_native.py and orchestration/families.py a home of XGBoost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from churn.distributions import normal_below
from churn.pair_drift import Pair, PairReference
from churn.performance import auc
from churn.two_sample import rank_sum

if TYPE_CHECKING:
    import xgboost

Matrix = NDArray[np.float32]
Numbers = NDArray[np.float64]

THRESHOLD = 0.001
"""One look an hour is then wrong once in six weeks, without waiting for a second one. Each test has a third of it."""
SMALLEST_ROWS = 200
"""With fewer rows a half is too small to learn from."""
NAMED_COLUMNS = 3
TESTS = 3
MOST_REFERENCE_ROWS = 20_000
"""More would cost time and no longer make a difference: the window's own sampling error is then the larger one."""
FOLDS = 3
ROUNDS, DEPTH, LEARNING_RATE = 60, 4, 0.15
LEARNING_ROUNDS, LEARNING_DEPTH = 100, 3
TREES, MOST_FORETOLD = 6_000, 50
"""At most so many trees foretell so many columns together, lest a wide contract hold up the watch: the first ones, for
to choose them by their ties would be unfair to the reference. The others help to foretell them, and the classifier sees
all."""


@dataclass(frozen=True, slots=True)
class Tie:
    """How a column goes with the others: its correlation with what they foretell, in the reference and in the
    window, and the chance of such a difference by sampling alone, corrected over the columns."""

    column: str
    before: float
    now: float
    p_value: float


@dataclass(frozen=True, slots=True)
class JointVerdict:
    """`auc` is how well the sides can be told apart on unseen rows, 0.5 being not at all. When drifted, `columns` are
    the encoded ones that say so: those of `ties`, which no longer agree with the others, the surest first, and of
    `pairs`, which go together otherwise; or else those that helped the classifier most. `reason` says why there was no
    test, with a p-value of 1."""

    auc: float
    p_value: float
    threshold: float
    rows: int
    drifted: bool
    columns: tuple[str, ...] = ()
    reason: str = ""
    ties: tuple[Tie, ...] = ()
    pairs: tuple[Pair, ...] = ()

    @property
    def told(self) -> str:
        """What changed, for those who read it."""
        ties = [f"{tie.column} agreed with the others by {tie.before:.2f}, now by {tie.now:.2f}" for tie in self.ties]
        pairs = [f"{p.first} and {p.second} went together by {p.before:.2f}, now by {p.now:.2f}" for p in self.pairs]
        if ties or pairs:
            return "; ".join(ties + pairs)
        return f"most in {', '.join(self.columns)} (told apart with AUC {self.auc:.2f})"

    def to_json(self) -> dict[str, Any]:
        """Plain values for the store."""
        plain = asdict(self)
        return plain | {name: list(plain[name]) for name in ("columns", "ties", "pairs")}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> JointVerdict:
        """The inverse of `to_json`; verdicts of before there were ties or pairs have none."""
        ties = tuple(Tie(**tie) for tie in document.get("ties", ()))
        pairs = tuple(Pair(**pair) for pair in document.get("pairs", ()))
        return cls(**{**document, "columns": tuple(document["columns"]), "ties": ties, "pairs": pairs})


@dataclass(frozen=True, slots=True)
class _Foretold:
    """One encoded column that the others foretell. `known` are its sorted values in the reference, `others` the
    columns that its trees read, one set of trees a fold."""

    place: int
    others: NDArray[np.intp]
    known: Numbers
    trees: tuple[xgboost.Booster, ...]


class JointReference:
    """A reference's rows, and what was learnt from them once: for 5,000 rows of 20 columns 3 s of CPU, of 200 columns
    30 s, and 340 kB a column. Columns of one category, "plan=basic", do not foretell each other. Immutable, and safe to
    share."""

    def __init__(self, rows: Matrix, columns: Sequence[str], seed: int = 0) -> None:
        if len(rows) > MOST_REFERENCE_ROWS:
            rows = rows[np.sort(np.random.default_rng(seed).permutation(len(rows))[:MOST_REFERENCE_ROWS])]
        self.rows = rows
        self.columns = tuple(columns)
        self._folds = np.random.default_rng(seed).permutation(len(rows)) % FOLDS
        self._foretold = self._learn() if len(rows) >= SMALLEST_ROWS else []
        self._deviations = self._deviate(rows, self._folds)
        self._pairs = PairReference(rows, columns)

    def agreements(self) -> dict[str, float]:
        """The correlation of each column that the others may foretell with what they do, on unseen rows: near zero is
        a column whose ties nobody could lose."""
        values, foretold = self._deviations
        return {
            self.columns[learnt.place]: _correlation(*_centred(values[:, column], foretold[:, column]))
            for column, learnt in enumerate(self._foretold)
        }

    def find_drift(self, window: Matrix, seed: int = 0, threshold: float = THRESHOLD) -> JointVerdict:
        """Compare encoded rows, NaN where missing. Takes about a second for 5,000 rows of 20 columns."""
        if len(window) < SMALLEST_ROWS or len(self.rows) < SMALLEST_ROWS:
            reason = f"{len(window)} rows, at least {SMALLEST_ROWS} are needed"
            return JointVerdict(0.5, 1.0, threshold, len(window), False, reason=reason)
        random = np.random.default_rng(seed)
        deviations = self._deviate(window, random.permutation(len(window)) % FOLDS)
        ties = self._ties(deviations)
        apart, chance, helpful = self._classify(window, deviations, random, seed)
        pairs = self._pairs.compare(window)
        p_value = min(1.0, TESTS * min([chance, *(found[0].p_value for found in (ties, pairs) if found)]))
        drifted = p_value <= threshold
        untied = tuple(tie for tie in ties if tie.p_value <= threshold / TESTS)[:NAMED_COLUMNS]
        changed = tuple(pair for pair in pairs if pair.p_value <= threshold / TESTS)[:NAMED_COLUMNS]
        named = [*(tie.column for tie in untied), *(name for pair in changed for name in (pair.first, pair.second))]
        columns = tuple(dict.fromkeys(named))[:NAMED_COLUMNS] or (helpful if drifted else ())
        return JointVerdict(apart, p_value, threshold, len(window), drifted, columns, ties=untied, pairs=changed)

    def _learn(self) -> list[_Foretold]:
        features = np.array([name.split("=", 1)[0] for name in self.columns])
        places = []
        for feature in dict.fromkeys(features.tolist()):
            own = np.flatnonzero(features == feature).tolist()
            places += own[:1] if len(own) == 2 else own  # of two levels the second says what the first does
        places = [place for place in places if self._varies(place)][:MOST_FORETOLD]
        rounds = max(5, min(LEARNING_ROUNDS, TREES // (FOLDS * max(1, len(places)))))
        learnt = []
        for place in places:
            others = np.flatnonzero(features != features[place])
            if len(others):
                known = np.sort(self.rows[~np.isnan(self.rows[:, place]), place]).astype(np.float64)
                target = _rank(known, self.rows[:, place])
                trees = tuple(self._regress(others, target, fold, rounds) for fold in range(FOLDS))
                learnt.append(_Foretold(place, others, known, trees))
        return learnt

    def _varies(self, place: int) -> bool:
        """In every fold there are enough values, and not all the same, to be compared."""
        values = self.rows[:, place]
        rest = [values[(self._folds == fold) & ~np.isnan(values)] for fold in range(FOLDS)]
        return all(len(part) >= SMALLEST_ROWS // (2 * FOLDS) and np.ptp(part) > 0 for part in rest)

    def _regress(self, others: NDArray[np.intp], target: Numbers, fold: int, rounds: int) -> xgboost.Booster:
        import xgboost  # a second or two, once

        learn = (self._folds != fold) & ~np.isnan(target)
        options = {
            "max_depth": LEARNING_DEPTH,
            "eta": 0.1,
            "subsample": 0.8,
            "colsample_bytree": 0.5,
            "min_child_weight": 20,
            "max_bin": 64,
            "seed": fold,
            "nthread": 1,
        }
        data = xgboost.QuantileDMatrix(self.rows[learn][:, others], target[learn], max_bin=64, nthread=1)
        return xgboost.train(options, data, rounds)

    def _deviate(self, rows: Matrix, folds: NDArray[np.intp]) -> tuple[Numbers, Numbers]:
        """Of each row and foretold column: the value's rank, and what the other columns foretell of it, from -0.5 to
        0.5; NaN where the value is missing."""
        values, foretold = (np.full((len(rows), len(self._foretold)), np.nan) for _ in range(2))
        for column, learnt in enumerate(self._foretold):
            values[:, column] = _rank(learnt.known, rows[:, learnt.place])
            for fold, trees in enumerate(learnt.trees):
                chosen = folds == fold
                if chosen.any():
                    foretold[chosen, column] = trees.inplace_predict(rows[chosen][:, learnt.others])
        foretold[np.isnan(values)] = np.nan
        return values, foretold

    def _ties(self, window: tuple[Numbers, Numbers]) -> list[Tie]:
        """Every foretold column, the one that changed most surely first."""
        ties = []
        for column, learnt in enumerate(self._foretold):
            if np.count_nonzero(~np.isnan(window[0][:, column])) < SMALLEST_ROWS // 2:
                continue
            before, now = (_centred(side[0][:, column], side[1][:, column]) for side in (self._deviations, window))
            products = [values * foretold for values, foretold in (before, now)]
            error = np.sqrt(sum(part.var(ddof=1) / len(part) for part in products))
            difference = products[1].mean() - products[0].mean()
            chance = 2 * float(normal_below(-abs(difference / error))) if error > 0 else 1.0
            ties.append(Tie(self.columns[learnt.place], _correlation(*before), _correlation(*now), chance))
        corrected = [Tie(t.column, t.before, t.now, min(1.0, t.p_value * len(ties))) for t in ties]
        return sorted(corrected, key=lambda tie: tie.p_value)

    def _classify(
        self, window: Matrix, deviations: tuple[Numbers, Numbers], random: np.random.Generator, seed: int
    ) -> tuple[float, float, tuple[str, ...]]:
        """How well the sides are told apart, the chance of it, and the columns that helped most."""
        agreements = [values * foretold for values, foretold in (self._deviations, deviations)]
        sides = [np.hstack([self.rows, agreements[0]]), np.hstack([window, agreements[1]])]
        rows = np.concatenate(sides).astype(np.float32)
        is_window = np.repeat([False, True], [len(self.rows), len(window)])
        learn = np.zeros(len(rows), bool)
        for side in (~is_window, is_window):
            members = np.flatnonzero(side)
            learn[random.permutation(members)[: len(members) // 2]] = True
        trees = _fit(rows[learn], is_window[learn], seed)
        scores = trees.inplace_predict(rows[~learn])
        truth = is_window[~learn]
        order = np.unique(scores, return_inverse=True)[1]
        counts = [np.bincount(order[side], minlength=order.max() + 1) for side in (~truth, truth)]
        found = rank_sum(counts[0], counts[1])
        chance = found.p_value / 2 if found.statistic > 0 else 1.0 - found.p_value / 2  # only better than chance counts
        names = [*self.columns, *(self.columns[learnt.place] for learnt in self._foretold)]
        return auc(scores.astype(np.float64), truth), chance, _most_useful(trees, names)


def _rank(known: Numbers, values: Matrix) -> Numbers:
    """The mid-ranks of values among the sorted ones of the reference, from -0.5 to 0.5."""
    ranks = (np.searchsorted(known, values, "left") + np.searchsorted(known, values, "right")) / (2 * len(known)) - 0.5
    return np.where(np.isnan(values), np.nan, ranks)


def _centred(values: Numbers, foretold: Numbers) -> tuple[Numbers, Numbers]:
    """Both less their means, over the rows that have a value: a column that moved as a whole moves no covariance."""
    present = ~np.isnan(values)
    return values[present] - values[present].mean(), foretold[present] - foretold[present].mean()


def _correlation(values: Numbers, foretold: Numbers) -> float:
    scale = float(np.sqrt((values**2).mean() * (foretold**2).mean()))
    return round(float((values * foretold).mean()) / scale, 4) if scale > 0 else 0.0


def _fit(rows: Matrix, is_window: NDArray[np.bool_], seed: int) -> xgboost.Booster:
    import xgboost  # a second or two, once

    options = {
        "objective": "binary:logistic",
        "max_depth": DEPTH,
        "eta": LEARNING_RATE,
        "subsample": 0.8,
        "colsample_bytree": 0.8,
        "max_bin": 64,
        "seed": seed,
        "nthread": 1,
        "scale_pos_weight": float((~is_window).sum() / is_window.sum()),
    }
    return xgboost.train(options, xgboost.QuantileDMatrix(rows, is_window, max_bin=64, nthread=1), ROUNDS)


def _most_useful(trees: xgboost.Booster, columns: Sequence[str]) -> tuple[str, ...]:
    """Features and their agreements count together."""
    gains: dict[str, float] = {}
    for name, gain in trees.get_score(importance_type="total_gain").items():
        column = columns[int(name.removeprefix("f"))]
        gains[column] = gains.get(column, 0.0) + float(gain)
    return tuple(sorted(gains, key=lambda column: -gains[column])[:NAMED_COLUMNS])
