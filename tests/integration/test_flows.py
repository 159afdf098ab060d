"""Prefect's deployments on a real server: a drift alert becomes a challenger, and a run that was killed is noticed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest

from churn.bundle import Bundle
from churn.contract import load_contract
from churn.encoder import frame_records
from churn.feature_store import FeatureStore
from churn.prediction import Label
from churn.registry import Registry
from churn.scoring import Scorer
from churn.store import open_store
from orchestration.prefect_api import run_deployment
from simulation.stage import Part, Stage, StageSettings, environment, start_aws, start_mlflow, start_prefect
from tests.orchestration.test_receiver import EXAMPLE, Recorder
from tests.services import free_port
from tests.web_process import eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]
ROOT = Path(__file__).resolve().parents[2]
LABELLED = 1_500


class Floor:
    """Prefect, MLflow and S3 with one ingested version, a labelled log, and `python -m orchestration serve`."""

    def __init__(self, stage: Stage, ports: StageSettings, chat: Recorder) -> None:
        self.stage, self.chat = stage, chat
        self.prefect = f"http://127.0.0.1:{ports.prefect_port}/api"
        self.registry = Registry(stage.environment["MLFLOW_TRACKING_URI"])
        self.customers = stage.home / "known.csv"
        self.receiver = f"http://127.0.0.1:{stage.environment['RETRAIN_PORT']}"

    def ask(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.prefect}{path}", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())

    def alert(self) -> dict[str, Any]:
        """Alertmanager's own words."""
        request = urllib.request.Request(f"{self.receiver}/alerts", EXAMPLE.read_bytes())
        with urllib.request.urlopen(request, timeout=10) as answer:
            (found,) = json.loads(answer.read())["retrainings"]
            return dict(found)

    def state(self, run_id: str) -> dict[str, Any]:
        return dict(self.ask(f"/flow_runs/{run_id}")["state"])

    def ends(self, run_id: str, seconds: float = 180) -> dict[str, Any]:
        ended = eventually(lambda: self.state(run_id)["type"] not in ("SCHEDULED", "PENDING", "RUNNING"), seconds)
        assert ended, (self.state(run_id), (self.stage.home / "logs" / "flows.log").read_text()[-3000:])
        return self.state(run_id)

    def beats(self, run_id: str) -> bool:
        wanted = {"event": {"name": ["prefect.flow-run.heartbeat"]}, "resource": {"id": [f"prefect.flow-run.{run_id}"]}}
        return bool(self.ask("/events/filter", {"filter": wanted})["events"])


def fill(folder: Path, variables: dict[str, str], bundle: Bundle) -> None:
    """2,500 simulated customers ingested, 1,500 others logged three days ago with labels of yesterday."""
    from orchestration.ingest import ingest

    contract, tables = load_contract("credit_card"), {}
    for name, rows, seed in (("known", 2_500, 1), ("asked", LABELLED, 2)):
        tables[name] = folder / f"{name}.csv"
        command = ["make-data", "--rows", str(rows), "--seed", str(seed), "--out", str(tables[name])]
        subprocess.run([sys.executable, "-m", "simulation", *command], cwd=ROOT, check=True, timeout=120)
    names = {"endpoint_url": "AWS_ENDPOINT_URL", "region_name": "AWS_REGION"}
    names |= {"aws_access_key_id": "AWS_ACCESS_KEY_ID", "aws_secret_access_key": "AWS_SECRET_ACCESS_KEY"}
    client = boto3.client("s3", **{k: variables[v] for k, v in names.items()})
    features, elsewhere = FeatureStore("churnwatch", client), FeatureStore("elsewhere", client)
    ingest(tables["known"], contract, features, datetime.now(UTC), "0a1b2c3d")
    version = ingest(tables["asked"], contract, elsewhere, datetime.now(UTC), "0a1b2c3d").version
    asked = elsewhere.read("credit_card", version)
    when = datetime.now(UTC) - timedelta(days=3)
    ids = [f"{number:032d}" for number in range(len(asked))]
    store = open_store(variables["STORE_URL"])
    store.check()
    store.save(Scorer(bundle, lambda: when).score(frame_records(asked, contract.feature_names), "http", ids))  # type: ignore[arg-type]
    known = when + timedelta(days=2)
    store.label(
        [Label(prediction_id=i, churned=bool(c), observed_at=known) for i, c in zip(ids, asked["churned"], strict=True)]
    )
    store.close()


def serve(stage: Stage) -> Part:
    part = stage.start("flows", [sys.executable, "-m", "orchestration", "serve"])
    stage.wait_ready(part, f"http://127.0.0.1:{stage.environment['RETRAIN_PORT']}/health")
    return part


@pytest.fixture(scope="module")
def floor(tmp_path_factory: pytest.TempPathFactory, bundle: Bundle) -> Iterator[Floor]:
    folder = tmp_path_factory.mktemp("flows")
    ports = StageSettings(aws_port=free_port(), mlflow_port=free_port(), prefect_port=free_port())
    with Recorder() as chat:
        variables = {
            **environment(folder, ports, "credit_card"),
            "STORE_URL": f"sqlite:///{folder / 'store.db'}",
            "BUNDLE_CACHE": str(folder / "cache"),
            "RETRAIN_PORT": str(free_port()),
            "CHURNWATCH_CODE": str(ROOT),
            "RETRAIN_NOTICE_URL": f"{chat.url}/hook",
            "TRIALS": "1",
            "FOLDS": "2",
            "FAMILIES": "xgboost",
            "TUNE_DAILY_CRON": "",
            "RETRAIN_LOOK_CRON": "",
            "REPORT_CRON": "",
        }
        with Stage(folder, {**os.environ, **variables}) as stage:
            parts = start_aws(stage, ports), start_mlflow(stage, ports), start_prefect(stage, ports)
            mlflow = f"http://127.0.0.1:{ports.mlflow_port}/api/2.0/mlflow/experiments/get?experiment_id=0"
            urls = (
                f"http://127.0.0.1:{ports.aws_port}/_ministack/health",
                mlflow,
                f"http://127.0.0.1:{ports.prefect_port}/api/ready",
            )
            stage.wait_ready(parts[0], urls[0])
            fill(folder, variables, bundle)
            for part, url in zip(parts, urls, strict=True):
                stage.wait_ready(part, url)
            yield Floor(stage, ports, chat)


def processes_below(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(below for child in children for below in processes_below(int(child)))]


def test_a_drift_alert_becomes_a_judged_challenger_once_and_a_killed_run_is_marked_crashed(floor: Floor) -> None:
    part = serve(floor.stage)
    assert eventually(lambda: len(floor.ask("/deployments/filter", {})) == 5)
    limits = {
        one["name"]: one["concurrency_options"]["collision_strategy"] for one in floor.ask("/deployments/filter", {})
    }
    assert limits == {"ingest": "ENQUEUE", "hourly": "CANCEL_NEW", "daily": "ENQUEUE", "retrain": "CANCEL_NEW"}

    asked = floor.alert()
    assert asked["outcome"] == "started"
    assert floor.alert()["because"] == "one was asked for within the last minute"
    assert floor.ends(asked["run"])["type"] == "COMPLETED"

    challenger = floor.registry.resolve("challenger", "credit_card")
    ((path, notice),) = floor.chat.posted
    assert (path, notice["run_id"]) == ("/hook", challenger.run_id)
    assert (notice["outcome"], notice["labelled_requests"]) == ("fit", LABELLED)
    assert notice["reason"] == "alert FeatureDrift of total_trans_amt"
    assert challenger.approval_problem  # nothing was deployed
    artifacts = {one["key"]: one for one in floor.ask("/artifacts/filter", {})}
    assert {"retrain-credit-card", "retrain-credit-card-notice", "retrain-credit-card-run"} <= set(artifacts)
    assert f"{floor.registry.tracking_uri}/#/runs/{challenger.run_id}" in artifacts["retrain-credit-card-run"]["data"]
    assert f"{floor.registry.tracking_uri}/#/runs/" in artifacts["tuning-credit-card"]["data"]
    assert challenger.run_id in artifacts["trials-credit-card"]["data"]
    named = {one["name"] for one in floor.ask("/flow_runs/filter", {})}
    assert {"retrain credit_card: alert FeatureDrift of total_trans_amt", "tune credit_card"} <= named

    # A second one by hand: the cool-down, which is in the store, keeps it from training.
    again = run_deployment(floor.prefect, "retrain/retrain", {"contract": "credit_card", "reason": "impatience"})
    assert floor.ends(again)["type"] == "COMPLETED"
    assert floor.registry.resolve("challenger", "credit_card").run_id == challenger.run_id

    shorten_patience(floor, 10)
    killed = run_deployment(floor.prefect, "retrain/retrain", {"contract": "credit_card", "force": True})
    assert eventually(lambda: floor.beats(killed), 90)
    for pid in processes_below(part.process.pid):
        os.kill(pid, signal.SIGKILL)
    part.process.wait(10)
    ended = floor.ends(killed, 60)

    assert (ended["type"], ended["message"]) == ("CRASHED", "No heartbeat for 10 s: it has died.")


def test_a_worker_of_a_work_pool_runs_what_prefect_yaml_names(floor: Floor) -> None:
    """As on more hosts than one: the pool, the deployments by Prefect's own command, a worker, a run."""
    prefect = str(Path(sys.executable).with_name("prefect"))
    for command in (["work-pool", "create", "churnwatch", "--type", "process"], ["--no-prompt", "deploy", "--all"]):
        subprocess.run([prefect, *command], cwd=ROOT, env=floor.stage.environment, check=True, timeout=120)
    assert {one["work_pool_name"] for one in floor.ask("/deployments/filter", {})} == {"churnwatch"}

    floor.stage.start("worker", [prefect, "worker", "start", "--pool", "churnwatch"])
    parameters = {"contract": "credit_card", "file": str(floor.customers)}
    run = run_deployment(floor.prefect, "ingest/ingest", parameters)

    assert floor.ends(run)["type"] == "COMPLETED"
    (path,) = (one for one in floor.ask("/flow_runs/filter", {}) if one["id"] == run)
    assert path["work_pool_name"] == "churnwatch"


def shorten_patience(floor: Floor, seconds: float) -> None:
    """As a restart with another FLOW_LOST_SECONDS does: the automation stays one."""
    code = f"from orchestration.deployments import notice_lost_runs; notice_lost_runs({seconds})"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=floor.stage.environment, check=True, timeout=90)
    (automation,) = floor.ask("/automations/filter", {})

    assert automation["trigger"]["within"] == seconds
