"""Why an answer is as it is: SHAP contributions in the contract's words. Not a prediction, so not logged."""

from __future__ import annotations

import math
from typing import Any

from churn.encoder import Cleaned
from churn.errors import InvalidInput
from churn.serving import Serving
from web_service.problems import Problem, invalid_fields

LIST_LIMIT = 100
"""Most records a request: one explanation costs a few hundred predictions."""


def explain(serving: Serving, body: Any) -> Any:
    """An explanation for an object, a list of them for a list. Raises Problem with every wrong field."""
    items = body if isinstance(body, list) else [body]
    if len(items) > LIST_LIMIT:
        raise Problem("too-large", f"a list of {len(items)} records; at most {LIST_LIMIT} are explained at once")
    cleaned, wrong = [], []
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            raise Problem("invalid-fields", "expected an object with the contract's fields, or a list of such objects")
        try:
            cleaned.append(serving.scorer.prepare(item).cleaned)  # refuses what /predict would refuse
        except InvalidInput as error:
            wrong.append((index if isinstance(body, list) else None, error))
    if wrong:
        raise invalid_fields(wrong)
    explanations = _explanations(serving, cleaned) if cleaned else []
    return explanations if isinstance(body, list) else explanations[0]


def _explanations(serving: Serving, cleaned: list[Cleaned]) -> list[dict[str, Any]]:
    bundle = serving.bundle
    matrix = bundle.encoder.matrix(cleaned)
    probabilities = bundle.probabilities(matrix).tolist()
    contributions = bundle.contributions(matrix).tolist()
    return [
        {
            "churn_probability": probability,
            "churn": probability >= bundle.threshold,
            "threshold": bundle.threshold,
            "model_run_id": bundle.run_id,
            "contract": bundle.contract.name,
            "contract_hash": bundle.contract.hash,
            "base_log_odds": row[-1],
            "base_probability": 1.0 / (1.0 + math.exp(-row[-1])),
            "contributions": _told(serving, record, row[:-1]),
        }
        for record, probability, row in zip(cleaned, probabilities, contributions, strict=True)
    ]


def _told(serving: Serving, record: Cleaned, log_odds: list[float]) -> list[dict[str, Any]]:
    """Each feature's part in log-odds, the strongest first; with the base they sum to the answer's log-odds."""
    parts = [
        {
            "feature": feature.name,
            "description": feature.description,
            "unit": feature.unit,
            "value": record.features[feature.name],
            "log_odds": part,
        }
        for feature, part in zip(serving.bundle.contract.features, log_odds, strict=True)
    ]
    return sorted(parts, key=lambda part: -abs(part["log_odds"]))
