"""LitServe: two workers behind two HTTP processes. Its one argument is the port."""

from __future__ import annotations

import sys

import litserve
import numpy as np
from churn_model import ChurnModel


class ChurnAPI(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self._model = ChurnModel()

    def decode_request(self, request):  # type: ignore[no-untyped-def]  # LitServe would take a type for a schema
        return self._model.encode(request)

    def predict(self, row: np.ndarray) -> float:
        return self._model.probability(row)

    def encode_response(self, probability: float) -> dict[str, float]:
        return {"churn_probability": probability}


if __name__ == "__main__":
    server = litserve.LitServer(ChurnAPI(), accelerator="cpu", workers_per_device=2)
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=2, generate_client_file=False, log_level="warning"
    )
