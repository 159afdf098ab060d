"""The simulation as processes against real doors: the HTTP service, the stream service and a Kinesis emulator."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from churn.bundle import Bundle
from churn.contract import Contract
from churn.feature_store import FeatureStore, Manifest, new_version
from churn.store import PredictionStore, open_store
from simulation.customers import draw_customers
from simulation.draw import draw_population
from simulation.kinesis import connect, send_kinesis
from simulation.population import load_population
from simulation.stage import Stage, StageSettings, environment, start_aws
from simulation.traffic import make_events
from simulation.truth import read_truth

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Play:
    """One stage with an emulator, and the commands of the simulation on it."""

    def __init__(self, folder: Path, stage: Stage) -> None:
        self.folder, self.stage = folder, stage
        self.store: PredictionStore = open_store(stage.environment["STORE_URL"])
        self.store.check()

    def command(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "simulation", *arguments],
            env=self.stage.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start_rooms(self, bundle: Bundle) -> str:
        """Both doors with one model from the cache, as an earlier start would have left it. Returns the web address."""
        cache = Path(self.stage.environment["BUNDLE_CACHE"])
        (cache / "bundles").mkdir(parents=True)
        (cache / "bundles" / bundle.digest).symlink_to(bundle.folder)
        (cache / "pointers").mkdir()
        pointer = {"run_id": bundle.run_id, "digest": bundle.digest}
        (cache / "pointers" / bundle.run_id).write_text(json.dumps(pointer))
        web_port, stream_port = free_port(), free_port()
        web = self.stage.start(
            "web", [sys.executable, "-m", "web_service"], RUN_ID=bundle.run_id, WEB_PORT=str(web_port), WEB_WORKERS="1"
        )
        stream = self.stage.start(
            "stream",
            [sys.executable, "-m", "stream_service"],
            RUN_ID=bundle.run_id,
            STREAM_METRICS_PORT=str(stream_port),
        )
        self.stage.wait_ready(web, f"http://127.0.0.1:{web_port}/ready")
        self.stage.wait_ready(stream, f"http://127.0.0.1:{stream_port}/health")
        return f"http://127.0.0.1:{web_port}"

    def wait_logged(self, rows: int, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while self.store.count() < rows:
            assert time.monotonic() < deadline, f"{self.store.count()} of {rows} logged"
            time.sleep(0.1)


def event_ids(client: Any, stream: str) -> list[str]:
    """Of everything on a stream."""
    found = []
    for shard in client.list_shards(StreamName=stream)["Shards"]:
        where = {"StreamName": stream, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
        iterator = client.get_shard_iterator(**where)["ShardIterator"]
        while records := (answer := client.get_records(ShardIterator=iterator, Limit=10_000))["Records"]:
            found += [json.loads(record["Data"])["event_id"] for record in records]
            iterator = answer["NextShardIterator"]
    return found


def write_version(features: FeatureStore, folder: Path, frame: pd.DataFrame) -> None:
    path = folder / "features.parquet"
    frame.to_parquet(path, index=False)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    features.ensure_bucket()
    manifest = Manifest(
        contract="credit_card",
        contract_sha256="",
        version=new_version(datetime.now(UTC), "0" * 8),
        rows=len(frame),
        churned_rows=int(frame["churned"].sum()),
        quarantined_rows=0,
        sha256=digest,
        quarantine_sha256=digest,
        source="a test",
        source_sha256="",
        created_at=datetime.now(UTC),
        validation={},
    )
    features.write(manifest, path, path)


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    ports = StageSettings(aws_port=free_port(), mlflow_port=free_port(), prefect_port=free_port())
    variables = {
        **environment(tmp_path, ports, "credit_card"),
        "STORE_URL": f"sqlite:///{tmp_path / 'store.db'}",
        "JOURNAL_DIR": str(tmp_path / "journal"),
        "BUNDLE_CACHE": str(tmp_path / "cache"),
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with Stage(tmp_path, os.environ) as stage:
        aws = start_aws(stage, ports)
        stage.wait_ready(aws, f"http://127.0.0.1:{ports.aws_port}/_ministack/health")
        yield Play(tmp_path, stage)


def test_two_thousand_events_over_two_shards_of_a_real_emulator_all_arrive(play: Play, credit_card: Contract) -> None:
    client = connect()
    client.create_stream(StreamName="predictions", ShardCount=2)
    client.get_waiter("stream_exists").wait(StreamName="predictions")
    customers = draw_population(load_population(credit_card), 2_000, seed=1)
    events = list(make_events(draw_customers(customers, credit_card, 2_000, seed=1), prefix="t"))

    sent = send_kinesis(events, client, "predictions", contract="credit_card")

    assert (sent.answered, sent.failed) == (2_000, 0)
    assert sorted(event_ids(client, "predictions")) == [event.event_id for event in events]


def test_traffic_over_both_doors_is_answered_and_logged_once_and_labels_find_it(play: Play, bundle: Bundle) -> None:
    url = play.start_rooms(bundle)
    truth = play.folder / "truth.jsonl"

    said = play.command(
        *("run", "--population", "--http", url, "--stream", "predictions", "--results", "results", "--rate", "0"),
        *("--rows", "300", "--truth", str(truth), "--seed", "3"),
        *("--shift", "mean_shift:total_trans_amt:1@150", "--shift", "new_category@150", "--shift", "null_burst@150"),
    )

    assert "http: 300 sent, 300 answered, 0 refused, 0 failed" in said
    assert "stream: 300 sent, 300 taken" in said
    assert "results: 300 answered, 0 repeats, 0 missing" in said
    play.wait_logged(600)
    assert (play.store.count(route="http"), play.store.count(route="stream")) == (300, 300)
    events = read_truth(truth).events
    assert all(play.store.get(str(event.prediction_id)) for event in events)
    shifted = [play.store.get(str(event.prediction_id)) for event in events if event.shifts]
    assert len(shifted) == 300
    assert sum(bool(prediction.unknown) for prediction in shifted if prediction) > 30
    said = play.command("labels", "--truth", str(truth), "--http", url)
    assert re.match(r"600 labels posted to .*: 600 found their prediction, 0 did not; 0 are not known yet", said)


def test_held_out_customers_come_from_a_version_of_the_real_feature_store(play: Play, credit_card: Contract) -> None:
    features = FeatureStore("churnwatch")
    write_version(features, play.folder, draw_population(load_population(credit_card), 500, seed=1))
    url = f"http://127.0.0.1:{free_port()}"
    version = features.latest("credit_card")

    done = subprocess.run(
        [
            *(sys.executable, "-m", "simulation", "run", "--features", version, "--http", url, "--rows", "5"),
            *("--connections", "1", "--retry-seconds", "0.5"),
        ],
        env=play.stage.environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    # Nobody listens there: the customers were found, the first could not be sent, and that is what it says.
    assert "http: 1 sent, 0 answered, 0 refused, 1 failed" in done.stdout
    assert done.returncode == 1
