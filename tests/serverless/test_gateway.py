"""The handler takes both kinds of API Gateway events, and keeps its model warm and fresh."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from churn.artifact import make_artifact
from churn.bundle import Bundle
from serverless.gateway import Warm, from_file, respond
from tests.fakes import make_bundle, random_customers, records


@pytest.fixture
def record(bundle: Bundle) -> dict[str, Any]:
    return records(random_customers(bundle.contract, 1), bundle.contract)[0]


@pytest.fixture
def artifact_file(bundle: Bundle, tmp_path: Path) -> Path:
    path = tmp_path / "model.json"
    path.write_bytes(make_artifact(bundle))
    return path


@pytest.fixture
def warm(artifact_file: Path) -> Warm:
    return Warm(from_file(artifact_file))


def http_api(body: str, method: str = "POST", path: str = "/predict", **more: Any) -> dict[str, Any]:
    return {"version": "2.0", "rawPath": path, "requestContext": {"http": {"method": method}}, "body": body, **more}


def rest_api(body: str, method: str = "POST", path: str = "/predict", **more: Any) -> dict[str, Any]:
    return {"httpMethod": method, "path": path, "body": body, "isBase64Encoded": False, **more}


@pytest.mark.parametrize("event", [http_api, rest_api])
def test_both_kinds_of_events_are_answered(event: Any, warm: Warm, record: dict[str, Any], bundle: Bundle) -> None:
    plain = respond(event(json.dumps(record)), warm)
    encoded = base64.b64encode(json.dumps(record).encode()).decode()
    packed = respond(event(encoded) | {"isBase64Encoded": True}, warm)

    expected = bundle.probabilities(bundle.encoder.matrix([bundle.encoder.clean(record)]))[0]
    for response in (plain, packed):
        answer = json.loads(response["body"])
        assert response["statusCode"] == 200
        assert answer["churn_probability"] == pytest.approx(expected, abs=1e-6)
        assert answer["model_run_id"] == bundle.run_id


@pytest.mark.parametrize(
    ("event", "status"),
    [
        (http_api("{"), 400),
        (http_api('{"x": NaN}'), 400),
        (http_api("é", isBase64Encoded=True), 400),
        (http_api("[" * 100_000), 400),
        (http_api("[]"), 422),
        (rest_api("{}"), 422),
        (rest_api("{}", path="/elsewhere"), 404),
        (rest_api("{}", method="GET"), 405),
        (http_api(" " * 1_000_001), 413),
        ({}, 404),
    ],
)
def test_what_is_wrong_is_a_problem_document(event: dict[str, Any], status: int, warm: Warm) -> None:
    response = respond(event, warm)

    assert response["statusCode"] == status
    assert response["headers"]["content-type"] == "application/problem+json"
    assert json.loads(response["body"])["status"] == status


def test_pages_of_the_named_origin_may_ask(warm: Warm) -> None:
    preflight = respond(http_api("", method="OPTIONS"), warm, "https://bank.example")

    assert preflight["statusCode"] == 204
    assert preflight["headers"]["access-control-allow-origin"] == "https://bank.example"
    assert "access-control-allow-origin" not in respond(http_api("{}"), warm)["headers"]


def test_a_new_artifact_serves_within_a_minute_and_a_bad_one_never(artifact_file: Path, tmp_path: Path) -> None:
    seconds = [0.0]
    warm = Warm(from_file(artifact_file), clock=lambda: seconds[0])
    first = warm.artifact().run_id
    newer = make_bundle(tmp_path / "newer", run_id="b" * 32)
    artifact_file.write_bytes(make_artifact(newer))
    os.utime(artifact_file, ns=(1, 1))

    seconds[0] = 59.0
    before = warm.artifact().run_id
    seconds[0] = 60.0
    after = warm.artifact().run_id
    artifact_file.write_bytes(b"damaged")
    seconds[0] = 120.0

    assert (first, before, after, warm.artifact().run_id) == ("a" * 32, "a" * 32, "b" * 32, "b" * 32)


def test_without_a_model_the_answer_is_503(tmp_path: Path) -> None:
    response = respond(http_api("{}"), Warm(from_file(tmp_path / "absent.json")))

    assert response["statusCode"] == 503
    assert response["headers"]["retry-after"] == "60"


def test_a_log_line_tells_nothing_of_the_customer(
    warm: Warm, record: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    respond(http_api(json.dumps(record | {"customer_id": "secret-42"})), warm)

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in lines] == ["model_loaded", "answered"]
    assert set(lines[1]) == {"event", "timestamp", "status", "seconds", "model_run_id"}
