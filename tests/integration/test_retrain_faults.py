"""Retrainings that S3 leaves at the start, in the middle and at the end. MLflow keeps its artifacts there too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from churn.bundle import Bundle
from churn.errors import RunNotFound
from churn.registry import Registry
from simulation.stage import Stage, StageSettings, environment, start_aws, start_prefect
from tests.integration.test_flows import fill
from tests.orchestration.test_receiver import Recorder
from tests.services import free_port
from tests.tcp_proxy import Proxy

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]
ROOT = Path(__file__).resolve().parents[2]
DEADLINE_SECONDS = 200


class Plant:
    """S3 behind a proxy, an MLflow whose artifacts are there, Prefect, and a log to learn from."""

    def __init__(self, stage: Stage, s3: Proxy, chat: Recorder) -> None:
        self.stage, self.s3, self.chat = stage, s3, chat
        self.registry = Registry(stage.environment["MLFLOW_TRACKING_URI"])

    def begin(self, *more: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "orchestration", "retrain", "--json", "--force", *more]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, env=self.stage.environment, cwd=ROOT, text=True, **pipes)  # type: ignore[call-overload,no-any-return]

    def retrained(self) -> dict[str, Any]:
        process = self.begin()
        said, complained = process.communicate(timeout=DEADLINE_SECONDS)
        assert process.returncode == 0, complained
        return dict(json.loads(said.splitlines()[-1]))

    def challenger(self) -> str:
        """The run that waits as challenger; of none, an empty name."""
        try:
            return self.registry.resolve("challenger", "credit_card").run_id
        except RunNotFound:
            return ""


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory, bundle: Bundle) -> Iterator[Plant]:
    folder = tmp_path_factory.mktemp("retrain")
    ports = StageSettings(aws_port=free_port(), mlflow_port=free_port(), prefect_port=free_port())
    s3 = Proxy("127.0.0.1", ports.aws_port)
    through = f"http://127.0.0.1:{s3.port}"
    with Recorder() as chat:
        variables = {
            **environment(folder, ports, "credit_card"),
            "AWS_ENDPOINT_URL": through,
            "AWS_MAX_ATTEMPTS": "1",
            "STORE_URL": f"sqlite:///{folder / 'store.db'}",
            "BUNDLE_CACHE": str(folder / "cache"),
            "RETRAIN_NOTICE_URL": f"{chat.url}/hook",
            "OUTAGE_SECONDS": "2",
            "TRIALS": "1",
            "FOLDS": "2",
            "FAMILIES": "xgboost",
        }
        with Stage(folder, {**os.environ, **variables}) as stage:
            aws, prefect = start_aws(stage, ports), start_prefect(stage, ports)
            stage.wait_ready(aws, f"http://127.0.0.1:{ports.aws_port}/_ministack/health")
            fill(folder, variables, bundle)
            mlflow = start_mlflow_on_s3(stage, ports)
            stage.wait_ready(
                mlflow, f"http://127.0.0.1:{ports.mlflow_port}/api/2.0/mlflow/experiments/get?experiment_id=0"
            )
            stage.wait_ready(prefect, f"http://127.0.0.1:{ports.prefect_port}/api/ready")
            yield Plant(stage, s3, chat)
    s3.close()


def start_mlflow_on_s3(stage: Stage, ports: StageSettings) -> Any:
    names = {"endpoint_url": "AWS_ENDPOINT_URL", "region_name": "AWS_REGION"}
    names |= {"aws_access_key_id": "AWS_ACCESS_KEY_ID", "aws_secret_access_key": "AWS_SECRET_ACCESS_KEY"}
    boto3.client("s3", **{k: stage.environment[v] for k, v in names.items()}).create_bucket(Bucket="models")
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(ports.mlflow_port)),
        *("--backend-store-uri", f"sqlite:///{stage.home / 'mlflow.db'}", "--workers", "1"),
        *("--artifacts-destination", "s3://models/mlflow", "--serve-artifacts"),
    ]
    address = stage.environment["AWS_ENDPOINT_URL"]
    return stage.start("mlflow", command, MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false", MLFLOW_S3_ENDPOINT_URL=address)


def test_s3_lost_at_the_start_is_waited_for(plant: Plant) -> None:
    """While the log is written as features: the step is done again."""
    plant.s3.cut_at(b"PUT /churnwatch/features/credit_card")
    process = plant.begin()
    assert plant.s3.was_cut.wait(DEADLINE_SECONDS)
    plant.s3.mend()
    said, complained = process.communicate(timeout=DEADLINE_SECONDS)

    assert process.returncode == 0, complained
    assert json.loads(said.splitlines()[-1])["run_id"] == plant.challenger() != ""


@pytest.mark.parametrize(
    ("words", "registers"),
    [
        pytest.param(b"PUT /churnwatch/features/credit_card", False, id="start: features"),
        pytest.param(b"PUT /models/mlflow", False, id="middle: a candidate's bundle"),
        pytest.param(b"/artifacts/promotion/", True, id="end: the evidence"),
    ],
)
def test_s3_lost_for_long_ends_a_retraining_clearly_and_the_next_one_picks_up(
    plant: Plant, words: bytes, registers: bool
) -> None:
    """A challenger is a whole one or none: with the evidence lost, the model itself was whole before."""
    before, told = plant.challenger(), len(plant.chat.posted)
    plant.s3.cut_at(words)
    process = plant.begin()
    try:
        _, complained = process.communicate(timeout=DEADLINE_SECONDS)
    finally:
        plant.s3.mend()

    assert plant.s3.was_cut.is_set()
    assert process.returncode == 1
    assert complained.splitlines()[-1].startswith("error: ")
    ((_, notice),) = plant.chat.posted[told:]
    assert (notice["outcome"], notice["sentence"]) == ("failed", complained.splitlines()[-1].removeprefix("error: "))
    assert (plant.challenger() != before) == registers

    done = plant.retrained()
    assert done["run_id"] == plant.challenger() != before
    assert done["outcome"] in ("fit", "unfit")
