"""JSON Schemas of the shapes that no contract changes: answers, labels, state and problems."""

from __future__ import annotations

from churn.contract import Contract
from web_service.openapi_schemas import IDENTITY, Schema, optional, ref

PROBABILITY: Schema = {"type": "number", "minimum": 0, "maximum": 1}


def _object(description: str, properties: dict[str, Schema], optional: tuple[str, ...] = ()) -> Schema:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "description": description, "properties": properties, "required": required}


def _texts(description: str) -> Schema:
    return {"type": "array", "items": {"type": "string"}, "description": description}


def _said(kind: str | list[str], description: str) -> Schema:
    return {"type": kind, "description": description}


def answer_schemas(contract: Contract) -> dict[str, Schema]:
    """The fixed shapes, by their names under components/schemas."""
    names = {"type": "string", "enum": list(contract.feature_names)}
    decided = {
        "churn_probability": PROBABILITY | {"description": "Calibrated: of 100 such customers so many will leave."},
        "churn": _said("boolean", "Whether the probability reached the threshold."),
        "threshold": PROBABILITY | {"description": "Chosen from what a decision is worth."},
        "model_run_id": _said("string", "The MLflow run whose model answered."),
        "contract": {"const": contract.name},
        "contract_hash": _said("string", "The first 12 digits of the contract's sha256."),
    }
    return {
        "Answer": _object(
            "A prediction, as logged.",
            {
                "prediction_id": _said("string", "Its identity everywhere: answer, journal, store and report."),
                **decided,
                "created_at": {"type": "string", "format": "date-time"},
                "missing": {"type": "array", "items": names, "description": "Features that were absent or missing."},
                "unknown": {"type": "array", "items": names, "description": "Features of a level not in the contract."},
                "ignored": {"type": "integer", "minimum": 0, "description": "Fields that the contract does not have."},
                "churn_label": _said("string", "The decision in the contract's word; absent in an answer of long ago."),
                "customer_id": _said(
                    "string", "As sent; its pseudonym where the contract asks for that: match by event_id or place."
                ),
                "event_id": _said("string", "As sent."),
            },
            optional=("churn_label", "customer_id", "event_id"),
        ),
        "Explanation": _object(
            "Why the answer is as it is. `base_log_odds` and all contributions sum to the answer's log-odds.",
            {
                **decided,
                "base_log_odds": _said("number", "The average customer's log-odds."),
                "base_probability": PROBABILITY,
                "contributions": {"type": "array", "items": ref("Contribution")},
            },
        ),
        "Contribution": _object(
            "One feature's part (SHAP), the strongest first; above 0 it speaks for leaving.",
            {
                "feature": names,
                "description": _said("string", "The feature in the contract's words."),
                "unit": _said(["string", "null"], "The unit of the value."),
                "value": _said(["number", "string", "boolean", "null"], "As cleaned; null when missing."),
                "log_odds": _said("number", "In calibrated log-odds."),
            },
        ),
        "Label": _object(
            "Ground truth: whether a customer left. Give either prediction_id or customer_id.",
            {
                "churned": _said("boolean", "Whether the customer left."),
                "prediction_id": optional(IDENTITY, "The prediction that this is the truth of."),
                "customer_id": optional(IDENTITY, "The customer; all predictions so far are meant."),
                "observed_at": {"type": ["string", "null"], "format": "date-time", "description": "Now, when absent."},
            },
            optional=("prediction_id", "customer_id", "observed_at"),
        )
        | {"oneOf": [_only("prediction_id", "customer_id"), _only("customer_id", "prediction_id")]},
        "LabelOutcome": _object(
            "What became of the labels. Sending them again changes nothing.",
            {name: {"type": "integer", "minimum": 0} for name in ("matched", "changed", "unknown")},
        ),
        **_state_schemas(),
        **_problem_schemas(),
    }


def _only(given: str, absent: str) -> Schema:
    return {"required": [given], "properties": {given: IDENTITY, absent: {"type": "null"}}}


def _state_schemas() -> dict[str, Schema]:
    part = _object("One part.", {"ok": _said("boolean", "Whether it works."), "reason": _said("string", "Why not.")})
    part["required"] = ["ok"]
    return {
        "Health": _object("The process lives.", {"status": {"const": "alive"}}),
        "Readiness": _object(
            "Whether the service can answer, part by part.",
            {"ready": _said("boolean", "False goes with 503."), "model": part, "journal": part, "store": part},
        ),
        "Model": _object(
            "Which model answers, since when, and why it.",
            {
                "model_run_id": _said("string", "The MLflow run."),
                "digest": _said("string", "The sha256 of the bundle's manifest, which covers every file."),
                "contract": _said("string", "The use case."),
                "contract_hash": _said("string", "The first 12 digits of the contract's sha256."),
                "family": _said("string", "The kind of model."),
                "threshold": PROBABILITY,
                "since": {"type": "string", "format": "date-time"},
                "reason": _said("string", "What led to it."),
                "refused": _said(["object", "null"], "The newcomer that was refused, and why; null when none was."),
                "metrics": _said("object", "As measured in training."),
                "features_version": _said(["string", "null"], "The feature store's version that it learned from."),
            },
        ),
    }


def _problem_schemas() -> dict[str, Schema]:
    errors = {
        "type": "array",
        "items": ref("FieldError"),
        "description": "Every wrong field; at most 1,000 are listed.",
    }
    return {
        "Problem": _object(
            "What went wrong (RFC 9457).",
            {
                "type": _said("string", "urn:churnwatch:problem:KIND; switch on this."),
                "title": _said("string", "The kind in words."),
                "status": {"type": "integer", "minimum": 400, "maximum": 599},
                "detail": _said("string", "What was wrong this time, and what to do."),
                "errors": errors,
                "errors_total": {"type": "integer", "minimum": 1},
            },
            optional=("errors", "errors_total"),
        ),
        "FieldError": _object(
            "One wrong field.",
            {
                "index": {"type": "integer", "minimum": 0, "description": "The item of a list; absent for an object."},
                "field": _said("string", "The field's name."),
                "value": {"description": "As received, shortened."},
                "expected": _said("string", "What a right value is."),
                "message": _said("string", "All of it as one sentence."),
                "customer_id": _said("string", "The customer that is not known."),
            },
        )
        | {"required": []},
    }
