"""The stream service as a process: a real Kinesis emulator, a real store, kill -9, poison, two workers."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from churn.bundle import Bundle, bundle_digest
from churn.store import PredictionStore, open_store
from tests.fake_mlflow import FakeMlflow
from tests.fakes import make_bundle, random_customers, records
from tests.otlp_receiver import receiver

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Kinesis emulator on a free port of loopback."""
    port = _free_port()
    log = (tmp_path_factory.mktemp("kinesis") / "log").open("w")
    env = os.environ | {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "SERVICES": "kinesis"}
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / "ministack")], env=env, stdout=log, stderr=log, start_new_session=True
    )
    url = f"http://127.0.0.1:{port}"
    _wait_for(lambda: _answers(url), 30, "the emulator to start")
    yield url
    process.kill()
    process.wait()


@pytest.fixture
def run(tmp_path: Path, endpoint: str, bundle: Bundle, bundle_folder: Path) -> Iterator[Run]:
    made = Run(tmp_path, endpoint, bundle, bundle_folder)
    yield made
    made.close()


@pytest.fixture(params=["sqlite", "mongodb"])
def any_store_run(request: pytest.FixtureRequest, run: Run) -> Iterator[Run]:
    if request.param == "mongodb":
        uri = os.environ.get("MONGODB_URI")
        if not uri:
            pytest.skip("MONGODB_URI is not set")
        database = f"stream_{os.getpid()}_{time.time_ns()}"
        run.use_store(f"{uri.rstrip('/')}/{database}")
        yield run
        import pymongo

        with pymongo.MongoClient(uri) as client:
            client.drop_database(database)
    else:
        yield run


class Run:
    """One test's streams, store and processes."""

    def __init__(self, folder: Path, endpoint: str, bundle: Bundle, bundle_folder: Path) -> None:
        self.folder = folder
        self.bundle = bundle
        self.prefix = f"t{time.time_ns()}"
        self.processes: list[subprocess.Popen[str]] = []
        self.customers = records(random_customers(bundle.contract, 2000, seed=3), bundle.contract)
        self.env = {
            **{key: value for key, value in os.environ.items() if not key.startswith("AWS_")},
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "CHURNWATCH_HOME": str(folder),
            "BUNDLE_CACHE": str(_cached(bundle_folder, folder / "cache", bundle.run_id)),
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{_free_port()}",
            "RUN_ID": bundle.run_id,
            "INPUT_STREAM": f"{self.prefix}-in",
            "RESULTS_STREAM": f"{self.prefix}-out",
            "DEAD_LETTER_STREAM": f"{self.prefix}-dead",
            "LEASE_SECONDS": "3",
            "STREAM_METRICS_PORT": "0",
        }
        self.use_store(f"sqlite:///{folder / 'store.db'}")
        self.client = boto3.client(
            "kinesis",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"max_attempts": 5}),
        )
        for stream in ("in", "out", "dead"):
            self.client.create_stream(StreamName=f"{self.prefix}-{stream}", ShardCount=2)

    def use_store(self, url: str) -> None:
        self.env["STORE_URL"] = url
        self.store: PredictionStore = open_store(url)
        self.store.check()

    def send(self, payloads: list[bytes]) -> None:
        for at in range(0, len(payloads), 500):
            entries = [
                {"Data": data, "PartitionKey": f"key-{number}"}
                for number, data in enumerate(payloads[at : at + 500], at)
            ]
            answer = self.client.put_records(StreamName=f"{self.prefix}-in", Records=entries)
            assert answer["FailedRecordCount"] == 0

    def events(self, count: int) -> list[bytes]:
        return [
            json.dumps(self.customers[number % 2000] | {"event_id": f"event-{number}"}).encode()
            for number in range(count)
        ]

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "stream_service", *arguments],
            cwd=ROOT,
            env=self.env | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.processes.append(process)
        return process

    def finish(self, process: subprocess.Popen[str], seconds: float = 60) -> str:
        output, _ = process.communicate(timeout=seconds)
        assert process.returncode == 0, output
        return output

    def read(self, stream: str) -> list[dict[str, Any]]:
        """Everything on one of the streams."""
        name = f"{self.prefix}-{stream}"
        found: list[dict[str, Any]] = []
        for shard in self.client.list_shards(StreamName=name)["Shards"]:
            iterator = self.client.get_shard_iterator(
                StreamName=name, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
            )["ShardIterator"]
            while True:
                answer = self.client.get_records(ShardIterator=iterator, Limit=10_000)
                found += [json.loads(record["Data"]) for record in answer["Records"]]
                iterator = answer["NextShardIterator"]
                if not answer["Records"]:
                    break
        return found

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.communicate()
        self.store.close()


def test_two_thousand_records_over_two_shards_are_all_logged_once_and_answered(any_store_run: Run) -> None:
    run = any_store_run
    run.send(run.events(2000))

    run.finish(run.start("--once"))

    results = run.read("out")
    assert run.store.count(route="stream") == 2000
    assert {result["event_id"] for result in results} == {f"event-{number}" for number in range(2000)}
    assert len(results) == 2000
    assert {result["model_run_id"] for result in results} == {run.bundle.run_id}


def test_a_batch_is_a_span_linked_to_the_traces_its_records_name_and_no_line_names_a_person(run: Run) -> None:
    trace, mark = "4bf92f3577b34da6a3ce929d0e0e4736", "Marker-of-a-person-4711"
    events = [json.loads(event) | {"customer_id": mark} for event in run.events(20)]
    events[3] |= {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    poison = [{"customer_id": [mark]}, dict.fromkeys(run.customers[0], mark)]
    run.send([json.dumps(event).encode() for event in [*events, *poison]] + [f"no json {mark}".encode()])
    with receiver() as collector:
        output = run.finish(run.start("--once", OTEL_EXPORTER_OTLP_ENDPOINT=collector.address, LOG_FORMAT="json"))

    batches = collector.named("Pipeline.carry")
    assert trace in {link.trace_id.hex() for span in batches for link in span.links}
    carried = {span.span_id for span in batches}
    for name in ("SqliteStore.save", "Kinesis.put", "Scorer.score"):
        assert {span.parent_span_id for span in collector.named(name)} & carried, name
    refused = [span for span in collector.named("Registry.resolve") if span.status.code == 2]
    assert len(refused) == 1  # there is no MLflow: the service started from its cache, and the trace says so
    assert run.store.count() == 20
    assert len(run.read("dead")) == 3
    assert mark not in output
    assert all({"timestamp", "room", "event"} <= set(json.loads(line)) for line in output.splitlines())


def test_kill_9_in_the_middle_loses_nothing_and_scores_nothing_twice(run: Run) -> None:
    run.send(run.events(4000))
    for _ in range(3):
        before = run.store.count()
        victim = run.start(BATCH_RECORDS="50")
        _wait_for(lambda seen=before: run.store.count() > seen, 40, "the worker to begin")  # type: ignore[misc]
        victim.send_signal(signal.SIGKILL)
        victim.wait()
    assert run.store.count() < 4000

    run.finish(run.start("--once"))

    assert run.store.count() == 4000
    answers: dict[str, set[tuple[str, float, str]]] = {}
    for result in run.read("out"):
        answers.setdefault(result["event_id"], set()).add(
            (result["prediction_id"], result["churn_probability"], result["created_at"])
        )
    assert len(answers) == 4000
    assert all(len(different) == 1 for different in answers.values())


def test_poison_is_set_aside_with_its_bytes_and_can_be_replayed(run: Run) -> None:
    poison = [b"\xff\xfe", b"[1, 2]", b'{"customer_age": "old"}', b"x" * 1_000_000, b"\xf3\x89\x9a\xc2rubbish"]
    run.send(run.events(100) + poison)

    run.finish(run.start("--once"))

    assert run.store.count() == 100
    listed = run.finish(run.start("dead-letters", "list", "--data")).splitlines()
    letters = [json.loads(line) for line in listed]
    assert sorted(letter["reason"] for letter in letters) == [
        "bad_aggregate",
        "not_an_object",
        "not_json",
        "too_large",
        "wrong_fields",
    ]
    assert next(letter for letter in letters if letter["reason"] == "too_large")["bytes"] == 1_000_000
    wrong = next(letter for letter in letters if letter["reason"] == "wrong_fields")
    assert wrong["data"] == '{"customer_age": "old"}'
    assert "customer_age='old': expected a whole number" in wrong["detail"]
    said = run.finish(run.start("dead-letters", "replay", "--id", wrong["dead_letter_id"]))
    assert said.startswith("1 dead letters put back")
    assert run.finish(run.start("dead-letters", "replay", "--id", wrong["dead_letter_id"])).startswith("0 ")


def test_status_and_health_tell_how_far_it_is_and_sigterm_releases(run: Run) -> None:
    run.send(run.events(200))
    port = _free_port()
    process = run.start(STREAM_METRICS_PORT=str(port))
    _wait_for(lambda: run.store.count() == 200, 40, "all to be answered")
    _wait_for(lambda: all(row["lag_seconds"] == 0 for row in _status(run)), 20, "no lag")

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as response:
        health = json.load(response)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
        metrics = response.read().decode()
    owners = {row["owner"] for row in _status(run)}
    process.send_signal(signal.SIGTERM)
    run.finish(process)

    assert health["status"] == "ok"
    assert len(health["shards"]) == 2
    assert 'churnwatch_stream_lag_seconds{shard="shardId-000000000000"} 0.0' in metrics
    assert 'outcome="answered"' in metrics
    assert len(owners) == 1
    assert {row["owner"] for row in _status(run)} == {None}


def test_health_fails_while_records_wait_and_nothing_moves_and_says_which_shard(run: Run) -> None:
    port = _free_port()
    process = run.start(STREAM_METRICS_PORT=str(port), STREAM_STUCK_SECONDS="2", STORE_TIMEOUT_SECONDS="0.5")
    events = run.events(60)
    run.send(events[:10])
    _wait_for(lambda: run.store.count() == 10, 40, "the first answers")

    def health() -> tuple[int, dict[str, Any]]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    _wait_for(lambda: health()[0] == 200, 30, "it to be well")
    other = sqlite3.connect(run.folder / "store.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")  # nobody else can write now
    run.send(events[10:])
    _wait_for(lambda: any(shard["stuck"] for shard in health()[1]["shards"].values()), 30, "a shard to be stuck")
    status, document = health()
    other.execute("ROLLBACK")
    other.close()

    assert status == 503
    assert document["status"] == "stuck"
    assert max(shard["lag_seconds"] for shard in document["shards"].values()) >= 2
    _wait_for(lambda: run.store.count() == 60 and health()[0] == 200, 30, "it to go on")
    process.send_signal(signal.SIGTERM)
    run.finish(process)


def test_a_span_is_rehearsed_without_any_trace(run: Run) -> None:
    run.send([*run.events(50), b"rubbish"])

    output = run.finish(run.start("--from", "2020-01-01T00:00:00Z", "--to", "2100-01-01T00:00:00Z", "--dry-run"))

    assert json.loads(output.splitlines()[-1]) == {"answered": 50, "not_json": 1}
    assert run.store.count() == 0
    assert run.read("out") == run.read("dead") == []


def test_an_alias_swaps_the_model_between_batches_and_a_damaged_one_is_refused(run: Run, tmp_path: Path) -> None:
    second = make_bundle(tmp_path / "second", run_id="b" * 32, seed=1)
    third = make_bundle(tmp_path / "third", run_id="c" * 32, seed=2)
    mlflow = FakeMlflow()
    mlflow.register(run.bundle, "champion")
    mlflow.register(second)
    mlflow.register(third)
    mlflow.damage(third, "model.ubj")
    port = _free_port()
    process = run.start(
        RUN_ID="champion",
        MLFLOW_TRACKING_URI=mlflow.url,
        BUNDLE_CACHE=str(tmp_path / "own-cache"),
        ALIAS_POLL_SECONDS="0.2",
        STREAM_METRICS_PORT=str(port),
    )
    events = run.events(600)

    def metrics() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
            return str(response.read().decode())

    run.send(events[:200])
    _wait_for(lambda: run.store.count() == 200, 60, "the first model's answers")
    mlflow.aliases["champion"] = second.run_id
    _wait_for(lambda: f'model_run_id="{second.run_id}"}} 1.0' in metrics(), 20, "the swap")
    run.send(events[200:400])
    _wait_for(lambda: run.store.count() == 400, 30, "the second model's answers")
    mlflow.aliases["champion"] = third.run_id
    _wait_for(lambda: "churnwatch_model_refused 1.0" in metrics(), 20, "the refusal")
    run.send(events[400:])
    _wait_for(lambda: run.store.count() == 600, 30, "more of the second model's answers")
    process.send_signal(signal.SIGTERM)
    run.finish(process)
    mlflow.close()

    answered = {result["event_id"]: result["model_run_id"] for result in run.read("out")}
    expected = {f"event-{n}": run.bundle.run_id if n < 200 else second.run_id for n in range(600)}
    assert answered == expected


@pytest.mark.parametrize(
    ("env", "sentence"),
    [
        ({"RUN_ID": ""}, "error: RUN_ID=: expected an MLflow run id"),
        ({"RUN_ID": "b" * 32}, "error: MLflow at http://127.0.0.1:"),
        ({"STORE_URL": "ftp://x"}, "error: STORE_URL=ftp://x: expected sqlite:///PATH or mongodb://"),
        ({"START_POSITION": "noon"}, "error: START_POSITION=noon: expected TRIM_HORIZON, LATEST or a time"),
        ({"BATCH_RECORDS": "0"}, "error: BATCH_RECORDS=0: "),
        ({"AWS_DEFAULT_REGION": ""}, "error: AWS_DEFAULT_REGION=: expected the region of the streams"),
    ],
)
def test_what_cannot_start_says_one_clear_sentence(run: Run, env: dict[str, str], sentence: str) -> None:
    process = run.start("--once", **env)
    output, _ = process.communicate(timeout=60)

    assert process.returncode == 1
    assert output.splitlines()[-1].startswith(sentence)
    assert "Traceback" not in output


def _status(run: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.finish(run.start("status", "--json")).splitlines()]


def _cached(bundle_folder: Path, cache: Path, run_id: str) -> Path:
    """A bundle cache as an earlier start would have left it, so that no MLflow is needed."""
    digest = bundle_digest(bundle_folder)
    (cache / "bundles").mkdir(parents=True)
    (cache / "bundles" / digest).symlink_to(bundle_folder)
    (cache / "pointers").mkdir()
    (cache / "pointers" / run_id).write_text(json.dumps({"run_id": run_id, "digest": digest}))
    return cache


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=1)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def _wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
