"""The servers that a tuning needs, as processes on free ports, and the command line that uses them."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3

from churn.feature_store import FeatureStore
from simulation.stage import Part, Stage, StageSettings, environment, start_aws, start_mlflow, start_prefect
from tests.fakes import DATA
from tests.services import free_port

ROOT = Path(__file__).resolve().parents[1]
REAL = DATA / "BankChurners.csv"


class Servers:
    """The three servers and the command line that uses them."""

    def __init__(self, folder: Path, stage: Stage, ports: StageSettings) -> None:
        self.folder, self.stage, self.ports = folder, stage, ports
        self.tracking_uri = stage.environment["MLFLOW_TRACKING_URI"]

    def command(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "orchestration", *arguments],
            env={**self.stage.environment, **environment},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def succeed(self, *arguments: str) -> dict[str, Any]:
        done = self.command(*arguments, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        return dict(json.loads(done.stdout.splitlines()[-1]))

    def data(self) -> Path:
        """The published file where it is, else simulated customers."""
        if REAL.is_file():
            return REAL
        path = self.folder / "customers.csv"
        if not path.is_file():
            command = [sys.executable, "-m", "simulation", "make-data", "--rows", "10000", "--out", str(path)]
            subprocess.run(command, cwd=ROOT, check=True, timeout=120)
        return path

    def begin(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """A command that runs on; its standard error is a pipe."""
        return subprocess.Popen(
            [sys.executable, "-m", "orchestration", *arguments],
            env={**self.stage.environment, **environment},
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end_mlflow(self) -> None:
        self.stage.end(next(part for part in self.stage.parts if part.name == "mlflow"))

    def begin_mlflow(self) -> None:
        """The same server again, with what it had kept."""
        self.wait_for_mlflow(start_mlflow(self.stage, self.ports))

    def wait_for_mlflow(self, part: Part) -> None:
        self.stage.wait_ready(part, f"{self.tracking_uri}/api/2.0/mlflow/experiments/get?experiment_id=0")

    def features(self) -> FeatureStore:
        names = {"endpoint_url": "AWS_ENDPOINT_URL", "region_name": "AWS_REGION"}
        names |= {"aws_access_key_id": "AWS_ACCESS_KEY_ID", "aws_secret_access_key": "AWS_SECRET_ACCESS_KEY"}
        return FeatureStore(
            "churnwatch", boto3.client("s3", **{k: self.stage.environment[v] for k, v in names.items()})
        )


@contextlib.contextmanager
def started(folder: Path) -> Iterator[Servers]:
    ports = StageSettings(aws_port=free_port(), mlflow_port=free_port(), prefect_port=free_port())
    variables = {**environment(folder, ports, "credit_card"), "STORE_URL": f"sqlite:///{folder / 'store.db'}"}
    with Stage(folder, {**os.environ, **variables}) as stage:
        aws, mlflow, prefect = start_aws(stage, ports), start_mlflow(stage, ports), start_prefect(stage, ports)
        stage.wait_ready(aws, f"http://127.0.0.1:{ports.aws_port}/_ministack/health")
        servers = Servers(folder, stage, ports)
        servers.wait_for_mlflow(mlflow)
        stage.wait_ready(prefect, f"http://127.0.0.1:{ports.prefect_port}/api/health")
        yield servers
