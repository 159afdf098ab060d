"""JSON Schemas of what callers send of a customer: exactly what the encoder takes, from the contract."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from churn.contract import LARGEST_NUMBER, LINE_AS_ID, Contract, Feature
from churn.encoder import ENVELOPE
from churn.positional import POSITIONAL_FIELD
from churn.prediction import ID_LIMIT, LARGEST_ID

Schema = dict[str, Any]

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
    envelope = _envelope()
    if contract.id_column != LINE_AS_ID:
        envelope[contract.id_column] = optional(IDENTITY, "The same as customer_id, as the source has it.")
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


def positional_schema(contract: Contract) -> Schema:
    """The body of POST /predict as bare numbers, in the contract's order."""
    places = []
    for word in contract.positional:
        name, _, level = word.partition("=")
        if word in contract.feature_names:
            places.append(_place_schema(contract.feature(word)))
        else:
            places.append({"enum": [0, 1], "description": f"1 when {name} is {level}"})
    data: Schema = {
        "type": "array",
        "description": "In this order: " + ", ".join(contract.positional),
        "prefixItems": places,
        "items": False,
        "minItems": len(places),
    }
    return {"type": "object", "required": [POSITIONAL_FIELD], "properties": {POSITIONAL_FIELD: data, **_envelope()}}


def _place_schema(feature: Feature) -> Schema:
    facts = {"description": f"{feature.name}: {feature.description}", "title": feature.name}
    if feature.is_numeric:
        low = -LARGEST_NUMBER if feature.minimum is None else feature.minimum
        high = LARGEST_NUMBER if feature.maximum is None else feature.maximum
        return {"type": feature.type, "minimum": _plain(low), "maximum": _plain(high), **facts}
    if feature.type == "boolean":
        return {"enum": [0, 1], **facts}
    codes = ", ".join(f"{code} {level}" for code, level in enumerate(feature.levels))
    return {"enum": list(range(len(feature.levels))), **facts, "description": f"{facts['description']} ({codes})"}


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
        customer_id: optional(IDENTITY, "Whose answer this is; it is kept with the prediction."),
        event_id: optional(IDENTITY, "Makes a retry return the same prediction, logged once."),
        event_time: {
            "type": ["string", "null"],
            "format": "date-time",
            "description": "When it happened, such as 2026-01-31T12:00:00Z; UTC when no offset is given.",
        },
    }


def optional(schema: Schema, description: str) -> Schema:
    return {"description": description, "anyOf": [*schema["anyOf"], {"type": "null"}]}


def _plain(number: float) -> float | int:
    return int(number) if number == int(number) and abs(number) < 1e15 else number
