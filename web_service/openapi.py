"""The OpenAPI 3.1 document of the service, made from the contract: what /openapi.json answers and /docs shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from churn.contract import Contract
from web_service import by_id, explain
from web_service.openapi_answers import answer_schemas
from web_service.openapi_schemas import customer_by_id_schema, customer_schema, one_or_list, positional_schema, ref
from web_service.problems import MEDIA_TYPE, TITLES, Problem
from web_service.repeats import KEY_LIMIT

API_VERSION = "1.0.0"
IDEMPOTENCY_KEY: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Makes a retry return the first answer, logged once, also after a restart. A new one a request.",
    "schema": {"type": "string", "minLength": 1, "maxLength": KEY_LIMIT, "pattern": "^[ -~]*$"},
}
BODY_PROBLEMS = ("not-json", "too-large", "not-json-media-type", "invalid-fields")
LOGGED_PROBLEMS = (*BODY_PROBLEMS, "bad-request", "key-reused", "journal-full", "unavailable")


def document(
    contract: Contract, *, list_limit: int, keys_demanded: bool, example: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The whole document. `keys_demanded` adds the security scheme and its statuses to the routes behind the gate."""
    paths: dict[str, Any] = {}
    for (path, method), operation in _operations(list_limit).items():
        if path in ("/predict", "/predict/by-id"):
            operation["parameters"] = [IDEMPOTENCY_KEY]
        if path not in ("/health", "/ready"):
            _behind_gate(operation, keys_demanded)
        paths.setdefault(path, {})[method] = operation
    return {
        "openapi": "3.1.0",
        "info": _info(contract),
        "servers": [{"url": "./"}],
        "tags": [{"name": "Predictions"}, {"name": "Model"}, {"name": "State"}],
        "paths": paths,
        "components": _components(contract, keys_demanded, example),
    }


def _operations(list_limit: int) -> dict[tuple[str, str], dict[str, Any]]:
    """Every route by path and method, without what the gate adds."""
    customers = one_or_list(ref("Customer"), list_limit)
    by_ids = one_or_list(ref("CustomerById"), by_id.LIST_LIMIT)
    answers = one_or_list(ref("Answer"))
    explained = one_or_list(ref("Customer"), explain.LIST_LIMIT)
    return {
        ("/predict", "post"): _operation(
            "predict", "Predict for one customer or for a list", "Predictions", answers, LOGGED_PROBLEMS, body=customers
        ),
        ("/predict/by-id", "post"): _operation(
            "predictById",
            "Predict from the newest stored features of a customer",
            "Predictions",
            answers,
            (*LOGGED_PROBLEMS, "customer-unknown"),
            body=by_ids,
        ),
        ("/explain", "post"): _operation(
            "explain",
            "Tell what an answer is made of",
            "Predictions",
            one_or_list(ref("Explanation")),
            BODY_PROBLEMS,
            body=explained,
        ),
        ("/feedback", "post"): _operation(
            "feedback",
            "Tell who really left",
            "Predictions",
            ref("LabelOutcome"),
            (*BODY_PROBLEMS, "unavailable"),
            body=one_or_list(ref("Label"), list_limit),
        ),
        ("/model", "get"): _operation("model", "Which model answers", "Model", ref("Model")),
        ("/metrics", "get"): _metrics(),
        ("/health", "get"): _operation("health", "Whether the process lives", "State", ref("Health")),
        ("/ready", "get"): _ready(),
    }


def _info(contract: Contract) -> dict[str, Any]:
    target = contract.target
    description = (
        f"Answers how likely a customer is to **{target.positive_label}** rather than to {target.negative_label}, "
        f"by the contract `{contract.name}` (`{contract.hash}`) of {len(contract.features)} features. "
        "Every answer is logged before it is given. Every error is a problem document that says what to mend."
    )
    return {"title": contract.title, "version": f"{API_VERSION}+{contract.hash}", "description": description}


def _components(contract: Contract, keys_demanded: bool, example: Mapping[str, Any] | None) -> dict[str, Any]:
    schemas = {
        "Customer": customer_schema(contract, example),
        "CustomerById": customer_by_id_schema(contract),
        **answer_schemas(contract),
    }
    if contract.positional:
        schemas = _with_positional(schemas, contract)
    if not keys_demanded:
        return {"schemas": schemas}
    made = "Made by `python -m web_service keys add NAME`."
    schemes = {
        "bearer": {"type": "http", "scheme": "bearer", "description": made},
        "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": made},
    }
    return {"schemas": schemas, "securitySchemes": schemes}


def _with_positional(schemas: dict[str, Any], contract: Contract) -> dict[str, Any]:
    """A customer is then one of two forms, wherever one is taken."""
    forms = {"anyOf": [ref("NamedCustomer"), ref("PositionalCustomer")]}
    return schemas | {
        "NamedCustomer": schemas["Customer"],
        "PositionalCustomer": positional_schema(contract),
        "Customer": forms
        | ({"examples": schemas["Customer"]["examples"]} if "examples" in schemas["Customer"] else {}),
    }


def _operation(
    operation_id: str,
    summary: str,
    tag: str,
    answer: dict[str, Any],
    problems: tuple[str, ...] = (),
    body: dict[str, Any] | None = None,
) -> dict[str, Any]:
    operation: dict[str, Any] = {"operationId": operation_id, "summary": summary, "tags": [tag]}
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    answered = {"description": "OK", "content": {"application/json": {"schema": answer}}}
    operation["responses"] = {"200": answered} | _problems((*problems, "internal"))
    return operation


def _problems(kinds: tuple[str, ...]) -> dict[str, Any]:
    by_status: dict[int, list[str]] = {}
    for kind in kinds:
        by_status.setdefault(TITLES[kind][0], []).append(kind)
    return {str(status): _problem_response(status, by_status[status]) for status in sorted(by_status)}


def _problem_response(status: int, kinds: list[str]) -> dict[str, Any]:
    examples = {kind: {"value": orjson.loads(Problem(kind, TITLES[kind][1]).as_json())} for kind in kinds}
    response: dict[str, Any] = {
        "description": "; ".join(f"{TITLES[kind][1]} (`{kind}`)" for kind in kinds),
        "content": {MEDIA_TYPE: {"schema": ref("Problem"), "examples": examples}},
    }
    if status in (429, 503):
        seconds = {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 0}}
        response["headers"] = {"Retry-After": seconds}
    return response


def _behind_gate(operation: dict[str, Any], keys_demanded: bool) -> None:
    operation["responses"] |= _problems(("too-many-requests",))
    if keys_demanded:
        operation["responses"] |= _problems(("no-key", "key-revoked"))
        operation["security"] = [{"bearer": []}, {"header": []}]
    operation["responses"] = dict(sorted(operation["responses"].items()))


def _ready() -> dict[str, Any]:
    operation = _operation("ready", "Whether it can answer, part by part", "State", ref("Readiness"))
    unready = operation["responses"]["200"] | {"description": "It cannot answer; the parts say why"}
    operation["responses"]["503"] = unready
    return operation


def _metrics() -> dict[str, Any]:
    operation = _operation("metrics", "Metrics of all workers, for Prometheus", "State", {})
    operation["responses"]["200"] = {"description": "OK", "content": {"text/plain": {"schema": {"type": "string"}}}}
    return operation
