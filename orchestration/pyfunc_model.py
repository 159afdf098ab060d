"""The file that MLflow runs to load a logged model (models-from-code, no pickle): a bundle behind a pyfunc.

It runs beside an archive of `churn` (model_code.py) on machines that have nothing else of this project, so it imports
the core only.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd

ARCHIVE = Path(__file__).parent / "code" / "churn.zip"
if "churn" not in sys.modules and ARCHIVE.is_file():
    sys.path.insert(0, str(ARCHIVE))

from churn.bundle import load_bundle  # noqa: E402 found in the archive
from churn.encoder import frame_records  # noqa: E402


class ChurnModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc]  # MLflow's types are not followed
    """Answers a frame of the contract's columns with calibrated churn probabilities.

    MLflow makes the frame from whatever its callers send: a frame, a list of records, JSON over HTTP.
    """

    def load_context(self, context: Any) -> None:
        self._bundle = load_bundle(Path(context.artifacts["bundle"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> np.ndarray:
        """One probability a row, in order. Raises InvalidInput for a wrong field, as every other door does."""
        encoder = self._bundle.encoder
        records = frame_records(model_input, self._bundle.contract.feature_names)
        return self._bundle.probabilities(encoder.matrix([encoder.clean(record) for record in records]))


mlflow.models.set_model(ChurnModel())
