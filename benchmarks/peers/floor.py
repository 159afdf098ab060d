"""The floor: a Flask route that returns a constant."""

from __future__ import annotations

from flask import Flask

app = Flask(__name__)


@app.post("/predict")
def predict() -> dict[str, float]:
    return {"churn_probability": 0.5}
