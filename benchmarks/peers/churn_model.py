"""What the peers serve: the bundle's trees behind the least encoding that gives the same numbers.

No checks, no calibration, no log: a peer is measured at its best. PEER_SUBJECT names a folder with the trees
(model.ubj) and the encoder's layout (encoder.json). Imports nothing of this project: a peer's venv has none of it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import xgboost

SUBJECT = Path(os.environ["PEER_SUBJECT"])
LAYOUT: dict[str, Any] = json.loads((SUBJECT / "encoder.json").read_bytes())


class ChurnModel:
    """Safe to use from several threads."""

    def __init__(self) -> None:
        self._booster = xgboost.Booster({"nthread": 1}, model_file=str(SUBJECT / "model.ubj"))

    def encode(self, customer: dict[str, Any]) -> np.ndarray:
        """One row of shape (1, width): a column a level for categories, its index for ordinals."""
        row: list[float] = []
        for feature in LAYOUT["features"]:
            value = customer.get(feature["name"])
            if feature["type"] == "category":
                row.extend(float(value == level) for level in feature["levels"])
            elif value is None:
                row.append(float("nan"))
            else:
                row.append(float(feature["levels"].index(value) if feature["type"] == "ordinal" else value))
        return np.array([row], dtype=np.float32)

    def probability(self, row: np.ndarray) -> float:
        return float(self._booster.inplace_predict(row)[0])
