"""A fitted model as serving sees it: encoded rows in, log-odds out. One small class a family.

XGBoost has two homes: churn/xgboost_native.py (load, score, explain) and orchestration/families.py (fit).
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from churn.errors import BundleRefused
from churn.xgboost_native import NativeBooster

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


class Booster(Protocol):
    """What a booster must do to be served: give its bytes in XGBoost's binary JSON (.ubj)."""

    def save_raw(self) -> bytes | bytearray: ...


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
        return cls(_Raw((folder / cls.file_name).read_bytes()))

    def save(self, folder: Path) -> None:
        (folder / self.file_name).write_bytes(self._booster.save_raw())

    def log_odds(self, matrix: Matrix) -> NDArray[np.float64]:
        return self._booster.margins(matrix)

    def contributions(self, matrix: Matrix) -> NDArray[np.float64]:
        return self._booster.contributions(matrix)


class _Raw:
    """Bytes of a model file, in a booster's place."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def save_raw(self) -> bytes:
        return self._raw


FAMILIES: dict[str, type[XGBoostModel]] = {XGBoostModel.family: XGBoostModel}


def load_model(family: str, folder: Path) -> Model:
    """Load the model file of a bundle. Raises BundleRefused for a family that this version does not know."""
    if family not in FAMILIES:
        raise BundleRefused("?", f"family {family!r} is not known here; known: {', '.join(sorted(FAMILIES))}")
    return FAMILIES[family].load(folder)
