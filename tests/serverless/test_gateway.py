"""The handler takes both kinds of API Gateway events, and keeps its model warm and fresh."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from churn.artifact import make_artifact
from churn.bundle import Bundle
from churn.prediction import answer_json, from_json
from churn.scoring import Scorer
from serverless.answers import keep_on
from serverless.door import Door
from serverless.environment import door_of_environment
from serverless.warm import Warm, from_file
from tests.fakes import make_bundle, pseudonym_key, random_customers, records
from tests.serverless.events import http_api, rest_api


@pytest.fixture
def record(bundle: Bundle) -> dict[str, Any]:
    return records(random_customers(bundle.contract, 1), bundle.contract)[0]


@pytest.fixture
def artifact_file(bundle: Bundle, tmp_path: Path) -> Path:
    path = tmp_path / "model.json"
    path.write_bytes(make_artifact(bundle))
    return path


@pytest.fixture
def kept() -> list[dict[str, Any]]:
    """The records that a function made durable."""
    return []


@pytest.fixture
def door(artifact_file: Path, kept: list[dict[str, Any]]) -> Door:
    return make_door(artifact_file, kept)


def make_door(path: Path, kept: list[dict[str, Any]], **more: Any) -> Door:
    given: dict[str, Any] = {"keep": kept.append, "key": lambda: pseudonym_key().decode()}
    return Door(Warm(from_file(path)), **(given | more))


@pytest.mark.parametrize("event", [http_api, rest_api])
def test_both_kinds_of_events_are_answered(event: Any, door: Door, record: dict[str, Any], bundle: Bundle) -> None:
    plain = door.respond(event(json.dumps(record)))
    encoded = base64.b64encode(json.dumps(record).encode()).decode()
    packed = door.respond(event(encoded) | {"isBase64Encoded": True})

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
        ({"version": "2.0"}, 400),
        ({"headers": 7}, 400),
        (rest_api('{"a": 1, "a": 1}'), 400),
        (rest_api('{"event_id": "\\ud800"}'), 400),
        (rest_api('{"x": ' + "[" * 8 + "]" * 8 + "}"), 400),
        (rest_api(7), 400),  # type: ignore[arg-type]
        (rest_api("9" * 5_000), 400),
    ],
)
def test_what_is_wrong_is_a_problem_document(
    event: dict[str, Any], status: int, door: Door, kept: list[dict[str, Any]]
) -> None:
    response = door.respond(event)

    assert kept == []

    assert response["statusCode"] == status
    assert response["headers"]["content-type"] == "application/problem+json"
    assert json.loads(response["body"])["status"] == status


def test_pages_of_the_named_origins_may_ask(artifact_file: Path, kept: list[dict[str, Any]], door: Door) -> None:
    opened = make_door(artifact_file, kept, origins=["https://bank.example", "https://shop.example"])
    asked = {"headers": {"Origin": "https://shop.example"}}

    preflight = opened.respond(rest_api("", method="OPTIONS", **asked))
    refused = opened.respond(http_api("{}", headers={"origin": "https://evil.example"}))

    assert preflight["statusCode"] == 204
    assert preflight["headers"]["access-control-allow-origin"] == "https://shop.example"
    assert refused["headers"]["vary"] == "origin"
    assert "access-control-allow-origin" not in refused["headers"]
    assert "access-control-allow-origin" not in door.respond(rest_api("{}", **asked))["headers"]


def test_a_new_artifact_serves_within_a_minute_and_a_bad_one_never(artifact_file: Path, tmp_path: Path) -> None:
    seconds = [0.0]
    warm = Warm(from_file(artifact_file), clock=lambda: seconds[0])
    first = run_of(warm)
    newer = make_bundle(tmp_path / "newer", run_id="b" * 32)
    artifact_file.write_bytes(make_artifact(newer))
    os.utime(artifact_file, ns=(1, 1))

    seconds[0] = 59.0
    before = run_of(warm)
    seconds[0] = 60.0
    after = run_of(warm)
    artifact_file.write_bytes(b"damaged")
    seconds[0] = 120.0

    assert (first, before, after, run_of(warm)) == ("a" * 32, "a" * 32, "b" * 32, "b" * 32)


def run_of(warm: Warm) -> str:
    artifact = warm.artifact()
    assert artifact is not None
    return artifact.run_id


def test_without_a_model_the_answer_is_503(tmp_path: Path, kept: list[dict[str, Any]]) -> None:
    response = make_door(tmp_path / "absent.json", kept).respond(http_api("{}"))

    assert response["statusCode"] == 503
    assert response["headers"]["retry-after"] == "5"


def test_a_log_line_tells_nothing_of_the_customer(
    door: Door, record: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    door.respond(http_api(json.dumps(record | {"customer_id": "secret-42"})))

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in lines] == ["model_loaded", "answered"]
    assert set(lines[1]) == {
        "event", "timestamp", "status", "seconds", "model_run_id", "request_id", "prediction_id",
    }  # fmt: skip
    assert lines[1]["request_id"] == "r-2"


def test_the_record_kept_is_the_one_that_the_service_would_log(
    door: Door, record: dict[str, Any], kept: list[dict[str, Any]], bundle: Bundle
) -> None:
    fields = record | {"customer_id": 42, "event_id": "e-1", "event_time": "2026-01-31T12:00:00+01:00", "more": 1}

    answer = json.loads(door.respond(rest_api(json.dumps(fields)))["body"])

    logged = from_json(json.dumps(kept[0]).encode())
    service = Scorer(bundle, key=pseudonym_key).score_one(fields, "lambda")
    assert logged.created_at.tzinfo is not None
    for name in ("prediction_id", "created_at", "latency_seconds", "churn_probability"):
        service = msgspec.structs.replace(service, **{name: getattr(logged, name)})
    assert logged == service
    assert set(answer) == set(json.loads(answer_json(service)))
    assert answer["prediction_id"] == logged.prediction_id


def test_what_could_not_be_kept_is_not_answered(artifact_file: Path, record: dict[str, Any]) -> None:
    def away(record: Any) -> None:
        raise OSError("the stream is away")

    response = make_door(artifact_file, [], keep=away).respond(rest_api(json.dumps(record)))

    assert response["statusCode"] == 503
    assert "cannot be logged" in json.loads(response["body"])["detail"]
    assert "churn" not in json.loads(response["body"])


def test_a_repeated_event_repeats_its_identity_and_another_question_does_not(
    door: Door, record: dict[str, Any], kept: list[dict[str, Any]]
) -> None:
    for fields in (record, record, record | {"customer_age": 33}, {**record, "event_id": "e-2"}):
        door.respond(rest_api(json.dumps({"event_id": "e-1", **fields})))

    first, second, third, fourth = (one["prediction_id"] for one in kept)
    assert first == second
    assert len({first, third, fourth}) == 3


@pytest.mark.parametrize("key", ["", "short"])
def test_without_the_key_of_pseudonyms_nobody_is_named_in_the_clear(
    key: str, tmp_path: Path, kept: list[dict[str, Any]]
) -> None:
    bank = make_bundle(tmp_path / "bank", "bank")
    assert bank.contract.pseudonymise
    (tmp_path / "bank.json").write_bytes(make_artifact(bank))
    fields = records(random_customers(bank.contract, 1), bank.contract)[0] | {"customer_id": "c-1"}

    response = make_door(tmp_path / "bank.json", kept, key=lambda: key).respond(rest_api(json.dumps(fields)))

    assert response["statusCode"] == 503
    assert kept == []
    door = make_door(tmp_path / "bank.json", kept)
    assert door.respond(rest_api(json.dumps(fields)))["statusCode"] == 200
    assert kept[0]["customer_id"] == Scorer(bank, key=pseudonym_key).score_one(fields, "lambda").customer_id != "c-1"


def test_a_function_that_would_log_nothing_has_to_say_so(
    monkeypatch: pytest.MonkeyPatch, artifact_file: Path, record: dict[str, Any]
) -> None:
    monkeypatch.setenv("ARTIFACT", str(artifact_file))
    monkeypatch.delenv("ANSWERS_STREAM", raising=False)
    with pytest.raises(ValueError, match="ANSWERS_STREAM=: expected the Kinesis stream"):
        door_of_environment()
    monkeypatch.setenv("ANSWERS_STREAM", "none")
    monkeypatch.setenv("PSEUDONYM_KEY", pseudonym_key().decode())

    assert door_of_environment().respond(rest_api(json.dumps(record)))["statusCode"] == 200
    keep_on("none")({})
