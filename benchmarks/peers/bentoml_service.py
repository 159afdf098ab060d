"""BentoML: a service with two workers."""

from __future__ import annotations

from typing import Any

import bentoml
from churn_model import ChurnModel


@bentoml.service(workers=2)
class Churn:
    def __init__(self) -> None:
        self._model = ChurnModel()

    @bentoml.api
    def predict(self, customer: dict[str, Any], /) -> dict[str, float]:
        return {"churn_probability": self._model.probability(self._model.encode(customer))}
