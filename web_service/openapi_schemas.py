"""JSON Schemas of what goes in and out: a customer as the contract has it, and the fixed shapes of answers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from churn.contract import LARGEST_NUMBER, Contract, Feature
from churn.encoder import ENVELOPE
from churn.prediction import ID_LIMIT, LARGEST_ID

Schema = dict[str, Any]

PROBABILITY: Schema = {"type": "number", "minimum": 0, "maximum": 1}
IDENTITY: Schema = {
    "anyOf": [
        {"type": "string", "minLength": 1, "maxLength": ID_LIMIT},
        {"type": "integer", "exclusiveMinimum": -LARGEST_ID, "exclusiveMaximum": LARGEST_ID},
    ]
}
"""An id as callers may write it; it is answered as text."""


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def one_or_list(item: Schema, limit: int | None = None) -> Schema:
    """An item or a list of them: every route that takes an object takes a list too, and answers in kind."""
    many: Schema = {"type": "array", "items": item}
    return {"oneOf": [item, many if limit is None else many | {"maxItems": limit}]}


def customer_schema(contract: Contract, example: Mapping[str, Any] | None = None) -> Schema:
    """The body of POST /predict for one customer."""
    envelope = {
        **_envelope(),
        contract.id_column: _optional(IDENTITY, "The same as customer_id, as the source has it."),
    }
    schema: Schema = {
        "type": "object",
        "description": "A customer. Fields that are not listed are ignored and counted.",
        "properties": {feature.name: feature_schema(feature, contract) for feature in contract.features} | envelope,
    }
    required = [feature.name for feature in contract.features if feature.required]
    if required:
        schema["required"] = required
    if example is not None:
        schema["examples"] = [dict(example)]
    return schema


def customer_by_id_schema(contract: Contract) -> Schema:
    """The body of POST /predict/by-id: an id, and any features that are to win over the stored ones."""
    properties = {feature.name: feature_schema(feature, contract) for feature in contract.features}
    return {
        "type": "object",
        "description": "A customer's id. A feature sent beside it wins over the stored one.",
        "required": ["customer_id"],
        "properties": {**properties, **_envelope(), "customer_id": IDENTITY},
        "examples": [{"customer_id": "768805383"}],
    }


def feature_schema(feature: Feature, contract: Contract) -> Schema:
    """What the encoder takes for one feature, no more and no less."""
    forms = _forms(feature, contract)
    if not feature.required:
        if feature.type not in ("category", "ordinal") or feature.strict:
            forms.append(_missing(contract))
        forms.append({"type": "null", "description": "missing"})
    facts = {"x-unit": feature.unit} if feature.unit else {}
    words = ". ".join(filter(None, [feature.description, f"Expected: {feature.expected}"]))
    return {"description": words, **facts, **(forms[0] if len(forms) == 1 else {"anyOf": forms})}


def _forms(feature: Feature, contract: Contract) -> list[Schema]:
    if feature.is_numeric:
        low = -LARGEST_NUMBER if feature.minimum is None else feature.minimum
        high = LARGEST_NUMBER if feature.maximum is None else feature.maximum
        return [{"type": feature.type, "minimum": _plain(low), "maximum": _plain(high)}]
    if feature.type == "boolean":
        spelled = ["true", "false", *feature.spellings]
        return [{"type": "boolean"}, {"enum": [0, 1]}, {"type": "string", "pattern": _pattern(spelled)}]
    levels: Schema = {"type": "string", "enum": list(dict.fromkeys([*feature.levels, *feature.spellings]))}
    index: Schema = {"type": "integer", "minimum": 0, "maximum": len(feature.levels) - 1}
    forms = [levels]
    if feature.type == "ordinal":
        forms.append(index | {"description": "the level's index"})
    if not feature.strict:
        forms.append(_unknown_level(feature, contract))
    return forms


def _unknown_level(feature: Feature, contract: Contract) -> Schema:
    level: Schema = {"type": "string", "description": "any other level counts as missing and is told under `unknown`"}
    return level | ({"not": {"pattern": _missing(contract)["pattern"]}} if feature.required else {})


def _missing(contract: Contract) -> Schema:
    spellings = sorted(contract.missing_spellings)
    return {"type": "string", "pattern": _pattern(spellings), "description": "a spelling of missing"}


def _pattern(spellings: list[str]) -> str:
    """Blanks around a spelling do not matter. Escaped for both Python's and ECMAScript's regular expressions."""
    escaped = "|".join(re.sub(r"([\\^$.|?*+()\[\]{}/])", r"\\\1", spelling) for spelling in spellings)
    return rf"^\s*({escaped})\s*$"


def _envelope() -> dict[str, Schema]:
    customer_id, event_id, event_time = ENVELOPE
    return {
        customer_id: _optional(IDENTITY, "Whose answer this is; it is kept with the prediction."),
        event_id: _optional(IDENTITY, "Makes a retry return the same prediction, logged once."),
        event_time: {
            "type": ["string", "null"],
            "format": "date-time",
            "description": "When it happened, such as 2026-01-31T12:00:00Z; UTC when no offset is given.",
        },
    }


def _optional(schema: Schema, description: str) -> Schema:
    return {"description": description, "anyOf": [*schema["anyOf"], {"type": "null"}]}


def _plain(number: float) -> float | int:
    return int(number) if number == int(number) and abs(number) < 1e15 else number


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
                "customer_id": _said("string", "As sent."),
                "event_id": _said("string", "As sent."),
            },
            optional=("customer_id", "event_id"),
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
                "prediction_id": _optional(IDENTITY, "The prediction that this is the truth of."),
                "customer_id": _optional(IDENTITY, "The customer; all predictions so far are meant."),
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
