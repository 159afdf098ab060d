"""A function's answer on a real emulator of S3 and Kinesis: kept before it is given, and in the log once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from churn.artifact import make_artifact
from churn.bundle import Bundle
from churn.store import open_store
from serverless.environment import door_of_environment
from tests.fakes import pseudonym_key, random_customers, records
from tests.serverless.events import rest_api
from tests.services import free_port

pytestmark = pytest.mark.integration


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An emulator on a free port of loopback, and the variables that lead boto3 to it."""
    port = free_port()
    env = os.environ | {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "SERVICES": "kinesis,s3"}
    command = [str(Path(sys.executable).parent / "ministack")]
    with (tmp_path / "emulator.log").open("w") as log:
        emulator = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "PSEUDONYM_KEY": pseudonym_key().decode(),
    }.items():
        monkeypatch.setenv(name, value)
    deadline = time.monotonic() + 30
    while not _listens(port) and time.monotonic() < deadline:
        time.sleep(0.1)
    yield
    emulator.kill()
    emulator.wait()


def test_answers_reach_the_log_each_once(
    account: None, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3, kinesis = boto3.client("s3"), boto3.client("kinesis")
    s3.create_bucket(Bucket="models")
    s3.put_object(Bucket="models", Key="credit/model.json", Body=make_artifact(bundle))
    for stream in ("answers", "dead-letters"):
        kinesis.create_stream(StreamName=stream, ShardCount=1)
    monkeypatch.setenv("ARTIFACT", "s3://models/credit/model.json")
    monkeypatch.setenv("ANSWERS_STREAM", "answers")
    door = door_of_environment()
    customers = records(random_customers(bundle.contract, 20), bundle.contract)

    responses = [door.respond(rest_api(json.dumps(one | {"event_id": f"e-{i}"}))) for i, one in enumerate(customers)]
    again = door.respond(rest_api(json.dumps(customers[0] | {"event_id": "e-0"})))
    _ship(tmp_path)
    _ship(tmp_path)

    answers = [json.loads(response["body"]) for response in responses]
    assert json.loads(again["body"])["prediction_id"] == answers[0]["prediction_id"]
    store = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    logged = store.get_many([answer["prediction_id"] for answer in answers])
    assert store.count() == store.count(route="lambda") == len(logged) == 20
    assert [logged[one["prediction_id"]].churn_probability for one in answers] == [
        one["churn_probability"] for one in answers
    ]
    store.close()


def test_a_stream_that_is_not_there_gives_no_answer(
    account: None, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.json").write_bytes(make_artifact(bundle))
    monkeypatch.setenv("ARTIFACT", str(tmp_path / "model.json"))
    monkeypatch.setenv("ANSWERS_STREAM", "absent")
    record = records(random_customers(bundle.contract, 1), bundle.contract)[0]

    response = door_of_environment().respond(rest_api(json.dumps(record)))

    assert response["statusCode"] == 503
    assert json.loads(response["body"])["detail"].startswith("the prediction cannot be logged, so it is not given")


def _ship(home: Path) -> None:
    environment = os.environ | {"CHURNWATCH_HOME": str(home), "STORE_URL": f"sqlite:///{home / 'store.db'}"}
    command = [sys.executable, "-m", "stream_service", "ship", "--once"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def _listens(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
