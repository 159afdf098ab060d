"""FastAPI and pandas as in the usual tutorial: a frame of one row, get_dummies, predict_proba."""

from __future__ import annotations

from typing import Any

import pandas as pd
import xgboost
from churn_model import LAYOUT, SUBJECT
from fastapi import FastAPI

app = FastAPI()
model = xgboost.XGBClassifier(n_jobs=1)
model.load_model(SUBJECT / "model.ubj")
CATEGORIES = [feature["name"] for feature in LAYOUT["features"] if feature["type"] == "category"]
ORDINALS = {
    feature["name"]: {level: index for index, level in enumerate(feature["levels"])}
    for feature in LAYOUT["features"]
    if feature["type"] == "ordinal"
}


@app.post("/predict")
def predict(customer: dict[str, Any]) -> dict[str, float]:
    frame = pd.DataFrame([customer])
    for name, levels in ORDINALS.items():
        frame[name] = frame[name].map(levels).astype(float)
    encoded = pd.get_dummies(frame, columns=CATEGORIES, prefix_sep="=", dtype=float)
    encoded = encoded.reindex(columns=LAYOUT["columns"], fill_value=0.0)
    return {"churn_probability": float(model.predict_proba(encoded)[0, 1])}
