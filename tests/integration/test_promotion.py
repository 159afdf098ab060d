"""Promotion on the command line with a real MLflow and S3: what an engineer and CI do, from tuning to rollback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest

from churn.contract import load_contract
from churn.encoder import frame_records
from churn.feature_store import FeatureStore
from churn.model_cache import open_model
from churn.prediction import Label
from churn.registry import Registry
from churn.scoring import Scorer
from churn.split import split
from churn.store import open_store
from simulation.stage import Stage, StageSettings, environment, start_aws, start_mlflow
from tests.services import free_port

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]


class Office:
    """MLflow, S3, a log and an environment file, with two tuned runs, the better one first."""

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        self.folder, self.variables = folder, variables
        self.env_file = folder / ".env.cloud"
        self.registry = Registry(variables["MLFLOW_TRACKING_URI"])
        self.run_ids: list[str] = []

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "orchestration", *arguments],
            env={**os.environ, **self.variables, **variables},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def succeed(self, *arguments: str) -> dict[str, Any]:
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        return dict(json.loads(done.stdout.splitlines()[-1]))

    def champion(self) -> str:
        return self.registry.resolve("champion", "credit_card").run_id

    def tune(self) -> str:
        """Two trials on simulated customers; returns the version of their features."""
        from orchestration.ingest import ingest
        from orchestration.tracking import Tracker
        from orchestration.training import load_training_set
        from orchestration.tuning import Plan, in_threads, tune

        table = self.folder / "customers.csv"
        command = [sys.executable, "-m", "simulation", "make-data", "--rows", "3000", "--out", str(table)]
        subprocess.run(command, cwd=ROOT, check=True, timeout=120)
        contract, features = load_contract("credit_card"), self.features()
        version = ingest(table, contract, features, datetime.now(UTC), "0a1b2c3d", 0.05).version
        data = load_training_set(contract, features, version, seed=7, folds=3)
        tracker, plan = Tracker(self.registry), Plan(trials=2, show_progress=False)
        tuned = tune(data, tracker, plan, in_threads(data, tracker, plan.families))
        self.run_ids = [trial.run_id for trial in tuned.trials]
        return version

    def fill_log(self, version: str) -> None:
        """The unseen customers, answered by the first run an hour ago, with their labels."""
        bundle = open_model(self.run_ids[0], "credit_card", self.registry, self.folder / "cache")
        frame = self.features().read("credit_card", version)
        unseen = frame.iloc[split(frame, 7).unseen]
        when = datetime.now(UTC) - timedelta(hours=1)
        store = open_store(self.variables["STORE_URL"])
        store.check()
        ids = [f"{number:032d}" for number in range(len(unseen))]
        scored = Scorer(bundle, lambda: when).score(frame_records(unseen, bundle.contract.feature_names), "http", ids)
        store.save(scored)  # type: ignore[arg-type]  # all are valid
        churned = unseen["churned"].tolist()
        store.label([Label(prediction_id=i, churned=c, observed_at=when) for i, c in zip(ids, churned, strict=True)])
        store.close()

    def features(self) -> FeatureStore:
        names = {"endpoint_url": "AWS_ENDPOINT_URL", "region_name": "AWS_REGION"}
        names |= {"aws_access_key_id": "AWS_ACCESS_KEY_ID", "aws_secret_access_key": "AWS_SECRET_ACCESS_KEY"}
        return FeatureStore("churnwatch", boto3.client("s3", **{k: self.variables[v] for k, v in names.items()}))


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    folder = tmp_path_factory.mktemp("promotion")
    ports = StageSettings(aws_port=free_port(), mlflow_port=free_port(), prefect_port=free_port())
    variables = {**environment(folder, ports, "credit_card"), "STORE_URL": f"sqlite:///{folder / 'store.db'}"}
    variables["BUNDLE_CACHE"] = str(folder / "cache")
    with Stage(folder, {**os.environ, **variables}) as stage:
        aws, mlflow = start_aws(stage, ports), start_mlflow(stage, ports)
        stage.wait_ready(aws, f"http://127.0.0.1:{ports.aws_port}/_ministack/health")
        stage.wait_ready(mlflow, f"http://127.0.0.1:{ports.mlflow_port}/api/2.0/mlflow/experiments/get?experiment_id=0")
        office = Office(folder, variables)
        office.fill_log(office.tune())
        yield office


def test_from_the_first_champion_to_a_rollback(office: Office) -> None:
    better, other = office.run_ids
    office.env_file.write_text("# the cloud\nRUN_ID=none-yet  # set by promotion\nWEB_WORKERS=2\n")

    refused = office.run("check-run", better)
    assert (refused.returncode, refused.stdout) == (3, "")
    assert refused.stderr.startswith(f"refused: run {better} was never promoted; run 'python -m orchestration promote")

    first = office.succeed("promote", other, "--reason", "a beginning", "--by", "ann")
    assert (first["outcome"], first["replaced_run_id"], office.champion()) == ("promoted", None, other)

    second = office.succeed("promote", "challenger", "--by", "ben", "--write", str(office.env_file))
    assert (second["run_id"], second["replaced_run_id"], office.champion()) == (better, other, better)
    assert office.env_file.read_text() == f"# the cloud\nRUN_ID={better}  # set by promotion\nWEB_WORKERS=2\n"
    assert office.succeed("check-run", "--env-file", str(office.env_file))["promoted_by"] == "ben"
    assert office.succeed("check-run", "champion")["run_id"] == better

    listed = {one["run_id"]: one for one in office.succeed("releases")["releases"]}
    assert "champion" in listed[better]["aliases"]
    assert listed[other]["aliases"] == ["previous"]
    assert listed[other]["promoted_at"] is not None

    back = office.succeed("rollback", "--reason", "a trial", "--write", str(office.env_file))
    assert (back["run_id"], back["withdrawn_run_id"], office.champion()) == (other, better, other)
    assert f"RUN_ID={other}  # set" in office.env_file.read_text()
    assert office.run("check-run", better).returncode == 3
    assert office.run("rollback").returncode == 3


def test_evidence_is_kept_with_the_run(office: Office, tmp_path: Path) -> None:
    import mlflow

    page = tmp_path / "evidence.html"
    done = office.succeed("promote", office.run_ids[0], "--dry-run", "--page", str(page))
    client = mlflow.MlflowClient(office.registry.tracking_uri)
    names = {file.path for file in client.list_artifacts(office.run_ids[0], done["evidence"])}
    kept = Path(client.download_artifacts(office.run_ids[0], f"{done['evidence']}/evidence.html", str(tmp_path)))

    assert names == {f"{done['evidence']}/evidence.html", f"{done['evidence']}/evidence.json"}
    assert kept.read_bytes() == page.read_bytes()
    assert done["requests"] == 1_200


@pytest.mark.parametrize(
    ("arguments", "variables", "code", "sentence"),
    [
        (("check-run", "f" * 32), {}, 3, "no model of that run"),
        (("promote", "f" * 32), {}, 1, "no model of that run"),
        (("check-run",), {}, 3, "no RUN_ID was given"),
        (("promote", "challenger", "--write", "/absent/.env"), {}, 1, "/absent/.env cannot be edited: No such file"),
        (("promote", "challenger"), {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}, 1, "cannot be reached"),
        (
            ("promote", "challenger"),
            {"PROMOTION_CALIBRATION_ERROR": "1e-9"},
            3,
            "calibration: its probabilities are off",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(
    office: Office, arguments: tuple[str, ...], variables: dict[str, str], code: int, sentence: str
) -> None:
    done = office.run(*arguments, **variables)

    assert done.returncode == code
    words = [line for line in done.stderr.splitlines() if line.startswith(("error: ", "refused: "))]
    assert len(words) == 1
    assert sentence in words[0]
