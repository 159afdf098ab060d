"""The proxy in front of a SageMaker endpoint, against a local server that speaks the wire of boto3's runtime client."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import boto3
import pytest
from botocore.config import Config

from churn.artifact import make_artifact
from churn.bundle import Bundle
from churn.prediction import from_json
from serverless.door import Door
from serverless.sagemaker import BODIES, bare_numbers, score_by
from serverless.warm import Warm, from_file
from tests.fakes import make_bundle, pseudonym_key
from tests.serverless.events import http_api, rest_api

NUMBERS = [670, 1, 38, 7, 0.0, 2, 1, 1, 77864.41, 1, 0, 0]


class Runtime:
    """SageMaker's runtime as boto3 meets it: POST /endpoints/NAME/invocations, an answer or an error by its header."""

    def __init__(self) -> None:
        self.received: list[tuple[str, str, bytes]] = []
        self.answer: tuple[int, dict[str, str], bytes] = (200, {}, b"0.9")
        runtime = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                runtime.received.append((unquote(self.path), self.headers["content-type"], body))
                status, headers, payload = runtime.answer
                self.send_response(status)
                for name, value in {"content-length": str(len(payload)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(payload)

            def log_message(self, *_: Any) -> None:
                """Not wanted."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def refuses(self, status: int, code: str) -> None:
        self.answer = (status, {"x-amzn-errortype": code}, json.dumps({"Message": "as ordered"}).encode())

    @property
    def client(self) -> Any:
        return boto3.client(
            "sagemaker-runtime",
            endpoint_url=f"http://127.0.0.1:{self.server.server_port}",
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=2),
        )


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    made = Runtime()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bank") / "bundle", "bank")


@pytest.fixture
def kept() -> list[dict[str, Any]]:
    return []


def proxy(bundle: Bundle, runtime: Runtime, folder: Path, kept: list[dict[str, Any]], body: str = "csv") -> Door:
    (folder / "model.json").write_bytes(make_artifact(bundle))
    return Door(
        warm=Warm(from_file(folder / "model.json")),
        keep=kept.append,
        key=lambda: pseudonym_key().decode(),
        score=score_by("bank churn", BODIES[body], runtime.client),
        check=bare_numbers,
    )


@pytest.fixture
def door(bank: Bundle, runtime: Runtime, tmp_path: Path, kept: list[dict[str, Any]]) -> Door:
    return proxy(bank, runtime, tmp_path, kept)


@pytest.mark.parametrize("event", [http_api, rest_api])
@pytest.mark.parametrize(("said", "label"), [(b"0.9\n", "Will Exit"), (b"0.1", "Will Not Exit")])
def test_twelve_numbers_are_forwarded_and_answered_in_words(
    event: Any, said: bytes, label: str, door: Door, runtime: Runtime, bank: Bundle, kept: list[dict[str, Any]]
) -> None:
    runtime.answer = (200, {"content-type": "text/csv; charset=utf-8"}, said)

    response = door.respond(event(json.dumps({"data": NUMBERS, "customer_id": 7})))

    answer = json.loads(response["body"])
    assert response["statusCode"] == 200
    assert (answer["churn_label"], answer["churn_probability"]) == (label, float(said))
    assert answer["model_run_id"] == bank.run_id
    assert runtime.received == [
        ("/endpoints/bank churn/invocations", "text/csv", b"670,1,38,7,0.0,2,1,1,77864.41,1,0,0")
    ]
    logged = from_json(json.dumps(kept[0]).encode())
    assert (logged.prediction_id, logged.route, logged.features["age"]) == (answer["prediction_id"], "lambda", 38)
    assert logged.customer_id != "7"


def test_a_model_of_mlflow_gets_named_fields(
    bank: Bundle, runtime: Runtime, tmp_path: Path, kept: list[dict[str, Any]]
) -> None:
    runtime.answer = (200, {"content-type": "application/json"}, b'{"predictions": [0.7]}')

    response = proxy(bank, runtime, tmp_path, kept, "mlflow").respond(rest_api(json.dumps({"data": NUMBERS})))

    _, media_type, body = runtime.received[0]
    assert json.loads(response["body"])["churn_probability"] == 0.7
    assert media_type == "application/json"
    assert json.loads(body)["dataframe_records"][0]["country"] == "France"


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"data": NUMBERS[:-1]}, "data='11 values': expected a list of 12 numbers: credit_score, gender, age"),
        ({"data": [*NUMBERS, 0]}, "data='13 values': expected a list of 12 numbers"),
        ({"data": "670,1,38"}, "data='670,1,38': expected a list of 12 numbers"),
        ({"data": [*NUMBERS[:-1], "0"]}, "data[11]='0': expected a number: country=Spain"),
        ({"data": [*NUMBERS[:-1], True]}, "data[11]=True: expected a number: country=Spain"),
        ({"data": [-1, *NUMBERS[1:]]}, "credit_score=-1: expected a whole number from 0 to 1000 (points)"),
        ({"credit_score": 670}, "data=None: expected a list of 12 numbers"),
        ({}, "data=None: expected a list of 12 numbers"),
    ],
)
def test_a_wrong_length_or_type_is_refused_with_a_sentence_and_never_forwarded(
    body: Any, sentence: str, door: Door, runtime: Runtime, kept: list[dict[str, Any]]
) -> None:
    response = door.respond(rest_api(json.dumps(body)))

    assert response["statusCode"] == 422
    assert json.loads(response["body"])["detail"].startswith(sentence)
    assert (runtime.received, kept) == ([], [])


@pytest.mark.parametrize(
    "said", [b"", b"maybe", b"1.5", b"-0.1", b"NaN", b"true", b"[0.1, 0.9]", b'{"score": "0.5"}', b"\xff"]
)
def test_an_answer_that_is_no_probability_is_not_passed_on(
    said: bytes, door: Door, runtime: Runtime, kept: list[dict[str, Any]]
) -> None:
    runtime.answer = (200, {}, said)

    response = door.respond(rest_api(json.dumps({"data": NUMBERS})))

    assert response["statusCode"] == 502
    assert "expected a probability from 0 to 1" in json.loads(response["body"])["detail"]
    assert kept == []


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, "ThrottlingException", 503),
        (503, "ServiceUnavailable", 503),
        (424, "ModelError", 502),
        (400, "ValidationError", 502),
    ],
)
def test_an_endpoint_that_refuses_is_told_as_what_it_is(
    status: int, code: str, expected: int, door: Door, runtime: Runtime
) -> None:
    runtime.refuses(status, code)

    response = door.respond(rest_api(json.dumps({"data": NUMBERS})))

    assert response["statusCode"] == expected
    assert f"endpoint bank churn: {code}" in json.loads(response["body"])["detail"]


def test_an_endpoint_that_is_away_is_503(door: Door, runtime: Runtime) -> None:
    runtime.server.shutdown()
    runtime.server.server_close()

    response = door.respond(rest_api(json.dumps({"data": NUMBERS})))

    assert response["statusCode"] == 503


def test_a_contract_without_an_order_of_numbers_has_no_proxy(
    bundle: Bundle, runtime: Runtime, tmp_path: Path, kept: list[dict[str, Any]]
) -> None:
    response = proxy(bundle, runtime, tmp_path, kept).respond(rest_api(json.dumps({"data": NUMBERS})))

    assert response["statusCode"] == 503
    assert "gives no order of bare numbers" in json.loads(response["body"])["detail"]
