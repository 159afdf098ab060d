"""A fitted model as serving sees it: encoded rows in, log-odds out. One small class a family.

xgboost has two homes: this file (load, score, explain) and orchestration/families.py (fit).
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import xgboost
from numpy.typing import NDArray

from churn.errors import BundleRefused

Matrix = NDArray[np.float32]


class Model(Protocol):
    """A binary classifier over encoded rows. Safe to share between threads once loaded."""

    family: str
    file_name: str

    def log_odds(self, matrix: Matrix) -> NDArray[np.float64]:
        """Log-odds before calibration, shape (rows,)."""

    def contributions(self, matrix: Matrix) -> NDArray[np.float64]:
        """SHAP contributions in log-odds before calibration, shape (rows, width + 1); the last is the base value."""

    def save(self, folder: Path) -> None: ...


class XGBoostModel:
    """Gradient-boosted trees by XGBoost, in its own binary JSON format (.ubj)."""

    family = "xgboost"
    file_name = "model.ubj"

    def __init__(self, booster: xgboost.Booster) -> None:
        self.booster = booster
        # One thread: a service scores many small batches at once; a pool for each costs more than it gains.
        booster.set_param({"nthread": 1})

    @classmethod
    def load(cls, folder: Path) -> XGBoostModel:
        booster = xgboost.Booster()
        booster.load_model(folder / cls.file_name)
        return cls(booster)

    def save(self, folder: Path) -> None:
        self.booster.save_model(folder / self.file_name)

    def log_odds(self, matrix: Matrix) -> NDArray[np.float64]:
        margins = self.booster.inplace_predict(matrix, predict_type="margin", validate_features=False)
        return np.asarray(margins, dtype=np.float64).reshape(-1)

    def contributions(self, matrix: Matrix) -> NDArray[np.float64]:
        rows = xgboost.DMatrix(matrix, nthread=1)
        return np.asarray(self.booster.predict(rows, pred_contribs=True, validate_features=False), dtype=np.float64)


FAMILIES: dict[str, type[XGBoostModel]] = {XGBoostModel.family: XGBoostModel}


def load_model(family: str, folder: Path) -> Model:
    """Load the model file of a bundle. Raises BundleRefused for a family that this version does not know."""
    if family not in FAMILIES:
        raise BundleRefused("?", f"family {family!r} is not known here; known: {', '.join(sorted(FAMILIES))}")
    return FAMILIES[family].load(folder)
