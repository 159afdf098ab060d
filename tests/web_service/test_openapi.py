"""The OpenAPI document: valid, complete, and true to what the encoder takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from churn.contract import Contract, load_contract
from churn.encoder import Encoder
from churn.errors import InvalidInput
from web_service.openapi import document
from web_service.openapi_schemas import feature_schema

EVERY_TYPE = Path(__file__).parents[1] / "contracts" / "every_type.toml"
VALUES: list[Any] = [
    *(None, True, False, 0, 1, 2, 3, 18, 17, 120, 121, -1, 0.0, 1.0, 1.5, 18.0, 3e38, -3e38, 4e38),
    *("", " ", "?", " ? ", "Unknown", "unknown", "Yes", "No", " Yes", "true", "false", "True", "18", "0"),
    *("low", "high", "north", "basic", "plus", "a", "nowhere", "Yes|No", [], [1], {}, {"a": 1}),
]


@pytest.fixture(scope="module")
def every_type() -> Contract:
    return load_contract(EVERY_TYPE)


def made(contract: Contract, **settings: Any) -> dict[str, Any]:
    return document(contract, **{"list_limit": 10_000, "keys_demanded": False, **settings})


@pytest.mark.parametrize("keys_demanded", [False, True])
def test_the_document_is_valid_openapi(credit_card: Contract, every_type: Contract, keys_demanded: bool) -> None:
    for contract in (credit_card, every_type):
        validate(made(contract, keys_demanded=keys_demanded))


def test_every_feature_appears_with_what_the_contract_says_of_it(credit_card: Contract) -> None:
    customer = made(credit_card)["components"]["schemas"]["Customer"]

    for feature in credit_card.features:
        schema = customer["properties"][feature.name]
        assert feature.description in schema["description"]
        assert feature.expected in schema["description"]
        assert schema.get("x-unit") == feature.unit
    assert customer["required"] == [feature.name for feature in credit_card.features if feature.required]
    assert {"customer_id", "event_id", "event_time", "CLIENTNUM"} < set(customer["properties"])


def test_a_required_number_has_its_range(every_type: Contract) -> None:
    assert feature_schema(every_type.feature("age"), every_type) == {
        "description": "Age. Expected: a whole number from 18 to 120 (years)",
        "x-unit": "years",
        "type": "integer",
        "minimum": 18,
        "maximum": 120,
    }


def test_the_schema_of_a_feature_takes_exactly_what_the_encoder_takes(every_type: Contract) -> None:
    encoder = Encoder(every_type)
    valid = {"age": 40, "segment": "old", "plan": "basic", "odd <name> & more": True}
    for feature in every_type.features:
        validator = Draft202012Validator(feature_schema(feature, every_type))
        for value in VALUES:
            accepted = True
            try:
                encoder.clean({**valid, feature.name: value})
            except InvalidInput:
                accepted = False

            assert validator.is_valid(value) == accepted, (feature.name, value)


def test_real_answers_fit_their_schemas(
    client: Any, customer: dict[str, Any], customers: list[dict[str, Any]], credit_card: Contract
) -> None:
    schemas = made(credit_card)
    one = {**customer, "customer_id": 7, "event_id": "e-1", "surprise": 1}
    for path, body in [
        ("/predict", one),
        ("/predict", customers),
        ("/explain", one),
        ("/explain", customers),
        ("/predict", {**customer, "customer_age": "old"}),
        ("/predict", [customer, {}]),
        ("/predict", "text"),
        ("/feedback", {"customer_id": "7", "churned": True}),
        ("/predict/by-id", {"customer_id": "nobody"}),
    ]:
        assert_as_described(schemas, client.post(path, json=body), path, "post")
    for path in ("/model", "/health"):
        assert_as_described(schemas, client.get(path), path, "get")


def assert_as_described(schemas: dict[str, Any], response: Any, path: str, method: str) -> None:
    described = schemas["paths"][path][method]["responses"][str(response.status_code)]["content"]
    schema = described[response.content_type]["schema"]
    errors = Draft202012Validator({**schema, "components": schemas["components"]}).iter_errors(response.get_json())
    assert [error.message for error in errors] == []


def test_keys_are_described_only_where_they_are_demanded(credit_card: Contract) -> None:
    free, locked = made(credit_card), made(credit_card, keys_demanded=True)

    assert "securitySchemes" not in free["components"]
    assert "401" not in free["paths"]["/predict"]["post"]["responses"]
    assert {"401", "403", "429"} < set(locked["paths"]["/predict"]["post"]["responses"])
    assert locked["paths"]["/predict"]["post"]["security"] == [{"bearer": []}, {"header": []}]
    assert "security" not in locked["paths"]["/health"]["get"]


def test_every_route_is_described(app: Any, credit_card: Contract) -> None:
    pages = {"/", "/docs", "/openapi.json", "/static/<name>", "/docs/<name>"}
    routes = {
        (rule.rule, method.lower())
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
        if rule.rule not in pages
    }

    assert {
        (path, method) for path, operations in made(credit_card)["paths"].items() for method in operations
    } == routes


def test_the_service_answers_its_document(client: Any, credit_card: Contract) -> None:
    response = client.get("/openapi.json")

    assert response.content_type == "application/json"
    answered = json.loads(response.data)
    validate(answered)
    assert answered["info"]["title"] == "Credit card churn"
    assert answered["info"]["version"].endswith(credit_card.hash)
    example = answered["components"]["schemas"]["Customer"]["examples"][0]
    assert client.post("/predict", json=example).status_code == 200
