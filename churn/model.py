"""A fitted model as serving sees it: encoded rows in, log-odds out. One small class a family.

No library that fits is needed to serve: XGBoost's scores come from its C library (churn/xgboost_native.py), all others
from plain numbers (churn/trees.py, churn/linear.py). Fitting stands in orchestration/families/.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from churn.errors import BundleRefused
from churn.lightgbm_text import read_lightgbm
from churn.linear import Linear
from churn.trees import TreeEnsemble
from churn.xgboost_native import NativeBooster

Matrix = NDArray[np.float32]
CLIP = 1e-9
"""Probabilities of 0 and 1 would have no log-odds; none of our trees gives them, but one made elsewhere may."""
TINY = 1e-12


class Model(Protocol):
    """A binary classifier over encoded rows. Safe to share between threads once loaded."""

    family: str
    file_name: str

    def log_odds(self, matrix: Matrix) -> NDArray[np.float64]:
        """Log-odds before calibration, shape (rows,)."""

    def contributions(self, matrix: Matrix) -> NDArray[np.float64]:
        """SHAP contributions in log-odds before calibration, shape (rows, width + 1); the last is the base value."""

    def save(self, folder: Path) -> None:
        """Write `file_name` into a folder, so that `load_model` gives the same answers, bit for bit."""


class Booster(Protocol):
    """What a booster must do to be served: give its bytes in XGBoost's binary JSON (.ubj)."""

    def save_raw(self) -> bytes | bytearray:
        """Bytes in XGBoost's binary JSON."""


class XGBoostModel:
    """Gradient-boosted trees by XGBoost, in its own binary JSON format (.ubj)."""

    family = "xgboost"
    file_name = "model.ubj"

    def __init__(self, booster: Booster) -> None:
        """From a booster as fitted (xgboost.Booster) or as loaded; its bytes are what is served either way."""
        raw = booster.save_raw()
        self._booster = NativeBooster(bytes(raw))

    @classmethod
    def load(cls, folder: Path) -> XGBoostModel:
        """From `model.ubj` of a bundle."""
        return cls(_Raw((folder / cls.file_name).read_bytes()))

    def save(self, folder: Path) -> None:
        """Write `model.ubj`."""
        (folder / self.file_name).write_bytes(self._booster.save_raw())

    def document(self) -> dict[str, Any]:
        """The model in XGBoost's JSON schema."""
        return json.loads(self._booster.save_raw("json"))  # type: ignore[no-any-return]

    def log_odds(self, matrix: Matrix) -> NDArray[np.float64]:
        """Log-odds before calibration, shape (rows,)."""
        return self._booster.margins(matrix)

    def contributions(self, matrix: Matrix) -> NDArray[np.float64]:
        """SHAP contributions, shape (rows, width + 1), as XGBoost's own pred_contribs."""
        return self._booster.contributions(matrix)


class _Raw:
    """Bytes of a model file, in a booster's place."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def save_raw(self) -> bytes:
        return self._raw


class LightGBMModel:
    """Gradient-boosted trees by LightGBM, in its own text format (.txt)."""

    family = "lightgbm"
    file_name = "model.txt"

    def __init__(self, text: str) -> None:
        """From the text of a model file. Raises ValueError when it is none."""
        self._text = text
        self.trees = read_lightgbm(text)

    @classmethod
    def load(cls, folder: Path) -> LightGBMModel:
        """From `model.txt` of a bundle. Raises ValueError when it is none."""
        return cls((folder / cls.file_name).read_text(encoding="utf-8"))

    def save(self, folder: Path) -> None:
        """Write `model.txt` as it was read."""
        (folder / self.file_name).write_text(self._text, encoding="utf-8")

    def log_odds(self, matrix: Matrix) -> NDArray[np.float64]:
        """Log-odds before calibration, shape (rows,)."""
        return self.trees.scores(matrix)

    def contributions(self, matrix: Matrix) -> NDArray[np.float64]:
        """SHAP contributions, shape (rows, width + 1), as LightGBM's own pred_contrib."""
        return self.trees.contributions(matrix)


class ForestModel:
    """Trees whose mean leaf is a probability: a random forest, or a single decision tree. Kept as plain arrays."""

    family = "random_forest"
    file_name = "model.npz"

    def __init__(self, trees: TreeEnsemble) -> None:
        """Each leaf holds its probability divided by the number of trees."""
        self.trees = trees

    @classmethod
    def load(cls, folder: Path) -> Self:
        """From `model.npz` of a bundle, which holds no pickle."""
        return cls(TreeEnsemble.load(folder / cls.file_name))

    def save(self, folder: Path) -> None:
        """Write `model.npz`."""
        self.trees.save(folder / self.file_name)

    def log_odds(self, matrix: Matrix) -> NDArray[np.float64]:
        """Log-odds of the mean leaf, shape (rows,), clipped so that 0 and 1 have some."""
        return _log_odds_of(self.trees.scores(matrix))

    def contributions(self, matrix: Matrix) -> NDArray[np.float64]:
        """Shapley values of the probability, stretched row by row so that they sum to the row's log-odds."""
        of_probability = self.trees.contributions(matrix)
        base, parts = of_probability[:, -1], of_probability[:, :-1]
        moved = parts.sum(axis=1)
        base_log_odds = _log_odds_of(base)
        gap = _log_odds_of(base + moved) - base_log_odds
        slope = 1.0 / (base * (1.0 - base))  # of log-odds over probability, where the row is as the mean
        stretch = np.where(np.abs(moved) > TINY, gap / np.where(moved == 0.0, 1.0, moved), slope)
        return np.concatenate([parts * stretch[:, None], base_log_odds[:, None]], axis=1)


class DecisionTreeModel(ForestModel):
    """One tree, small enough to be read."""

    family = "decision_tree"


class LogisticModel:
    """A logistic regression on standardised columns."""

    family = "logistic"
    file_name = "model.json"

    def __init__(self, linear: Linear) -> None:
        self.linear = linear

    @classmethod
    def load(cls, folder: Path) -> LogisticModel:
        """From `model.json` of a bundle."""
        return cls(Linear.load(folder / cls.file_name))

    def save(self, folder: Path) -> None:
        """Write `model.json`."""
        self.linear.save(folder / self.file_name)

    def log_odds(self, matrix: Matrix) -> NDArray[np.float64]:
        """Log-odds before calibration, shape (rows,)."""
        return self.linear.scores(matrix)

    def contributions(self, matrix: Matrix) -> NDArray[np.float64]:
        """Each column's part, shape (rows, width + 1); the last is the average customer's log-odds."""
        return self.linear.contributions(matrix)


LOADERS: dict[str, Callable[[Path], Model]] = {
    XGBoostModel.family: XGBoostModel.load,
    LightGBMModel.family: LightGBMModel.load,
    ForestModel.family: ForestModel.load,
    DecisionTreeModel.family: DecisionTreeModel.load,
    LogisticModel.family: LogisticModel.load,
}


def load_model(family: str, folder: Path) -> Model:
    """Load the model file of a bundle. Raises BundleRefused for a family that this version does not know."""
    if family not in LOADERS:
        raise BundleRefused("?", f"family {family!r} is not known here; known: {', '.join(sorted(LOADERS))}")
    return LOADERS[family](folder)


def _log_odds_of(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    clipped = np.clip(probabilities, CLIP, 1.0 - CLIP)
    return np.asarray(np.log(clipped) - np.log1p(-clipped))
