"""Every panel's, annotation's and rule's PromQL, asked of a real Prometheus that scrapes the running services."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pandas as pd
import pytest

from churn.bundle import Bundle
from churn.prediction import Label, Prediction
from churn.scoring import Scorer
from churn.store import PredictionStore, open_store
from monitoring.grafana.build import DASHBOARDS
from tests import prometheus_process
from tests.fakes import random_customers, records
from tests.gateway import self_signed, tls_server
from tests.prometheus_process import ROOT, Webhook, answers, ask, eventually, get, running
from tests.services import free_port, web_service

pytestmark = pytest.mark.integration
WINDOW_ROWS = 250
STREAMS = {"INPUT_STREAM": "in", "RESULTS_STREAM": "out", "DEAD_LETTER_STREAM": "dead"}
QUIET = {
    ("drift.json", "Unknown, impossible or out of range", "{{feature}} unknown"),
    ("drift.json", "Unknown, impossible or out of range", "{{feature}} unknown allowed"),
    ("drift.json", "Unknown, impossible or out of range", "{{feature}} impossible"),
    ("serving.json", "Alarms that ring", "Since"),
    ("stream.json", "Calls made again", "{{call}} {{cause}}"),
    ("stream.json", "Calls made again", "lost leases"),
}
"""What has nothing to show in this scene: its dashboard, title and legend."""


class Scene:
    """The running system: its log, its doors, its watch, and the Prometheus over them."""

    def __init__(self, home: Path, bundle: Bundle, stack: ExitStack) -> None:
        self.bundle = bundle
        self.customers = records(moved(random_customers(bundle.contract, 2_000, seed=3)), bundle.contract)
        self.sent = 0
        self.store = open_store(f"sqlite:///{home / 'store.db'}")
        self.store.check()
        stack.callback(self.store.close)
        fill(self.store, bundle)
        kinesis = f"http://127.0.0.1:{(port := free_port())}"
        emulator = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "SERVICES": "kinesis"}
        command = [str(Path(sys.executable).parent / "ministack")]
        stack.enter_context(running(command, home / "kinesis.log", os.environ | emulator))
        self.web = stack.enter_context(web_service(bundle, home))
        self.kinesis = boto3.client(
            "kinesis", "us-east-1", endpoint_url=kinesis, aws_access_key_id="test", aws_secret_access_key="test"
        )
        eventually(lambda: answers(f"{kinesis}/_ministack/health"), "Kinesis")
        for name in STREAMS.values():
            self.kinesis.create_stream(StreamName=name, ShardCount=2)
        gateway = stack.enter_context(tls_server(self_signed(home, datetime.now(UTC) + timedelta(days=90))))
        own = environment(home, bundle, kinesis) | {"WATCH_GATEWAY": f"127.0.0.1:{gateway.getsockname()[1]}"}
        for room in ("stream_service", "monitoring"):
            stack.enter_context(running([sys.executable, "-m", room], home / f"{room}.log", own))
        self.targets = {
            "127.0.0.1:9696": self.web.removeprefix("http://"),
            "127.0.0.1:8086": f"127.0.0.1:{own['STREAM_METRICS_PORT']}",
            "127.0.0.1:8085": f"127.0.0.1:{own['WATCH_PORT']}",
        }
        self.watch = f"http://127.0.0.1:{own['WATCH_PORT']}"
        webhook = Webhook()
        stack.callback(webhook.server.shutdown)
        pager = stack.enter_context(prometheus_process.alertmanager(home, webhook))
        self.prometheus = stack.enter_context(prometheus_process.prometheus(home, self.targets, pager))

    def send(self) -> None:
        """A few customers over both doors, and one record that nobody can score."""
        some = [self.customers[(self.sent + number) % 2_000] for number in range(10)]
        self.sent += 10
        body = json.dumps(some[:5]).encode()
        request = urllib.request.Request(f"{self.web}/predict", body, {"Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=10).close()
        data = [json.dumps(record).encode() for record in some[5:]] + [b"no json"]
        entries = [{"Data": item, "PartitionKey": f"k{place}"} for place, item in enumerate(data)]
        self.kinesis.put_records(StreamName="in", Records=entries)


def environment(home: Path, bundle: Bundle, kinesis: str) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        **STREAMS,
        "AWS_ENDPOINT_URL": kinesis,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "CHURNWATCH_HOME": str(home),
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}",
        "RUN_ID": bundle.run_id,
        "STREAM_METRICS_PORT": str(free_port()),
        "WATCH_PORT": str(free_port()),
        "WINDOW_ROWS": str(WINDOW_ROWS),
        "WATCH_POLL_SECONDS": "0.5",
        "WATCH_LATENESS_SECONDS": "1",
        "EVIDENTLY_ROWS": "250",
    }


def moved(frame: pd.DataFrame) -> pd.DataFrame:
    """A column drifts, and goes on to."""
    return frame.assign(credit_limit=frame["credit_limit"] + 120.0)


def fill(store: PredictionStore, bundle: Bundle) -> None:
    """A quiet window and two in which a column has moved, each of two minutes half an hour ago, all labelled."""
    began = datetime.now(UTC) - timedelta(minutes=30)
    frame = random_customers(bundle.contract, 3 * WINDOW_ROWS, seed=5)
    frame = pd.concat([frame.head(WINDOW_ROWS), moved(frame.tail(-WINDOW_ROWS))])
    times = iter(began + timedelta(seconds=0.5 * number) for number in range(len(frame)))
    scorer = Scorer(bundle, lambda: next(times))
    outcomes = [scorer.score_one(record, "http") for record in records(frame, bundle.contract)]
    predictions = [outcome for outcome in outcomes if isinstance(outcome, Prediction)]
    assert len(predictions) == 3 * WINDOW_ROWS
    store.save(predictions)
    now = datetime.now(UTC)
    truth = zip(predictions, frame["churned"], strict=True)
    store.label([Label(churned=bool(left), observed_at=now, prediction_id=p.prediction_id) for p, left in truth])


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, bundle: Bundle) -> Iterator[Scene]:
    for program in ("prometheus", "prometheus-alertmanager"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    with ExitStack() as stack:
        scene = Scene(tmp_path_factory.mktemp("system"), bundle, stack)
        eventually(lambda: ask(scene.prometheus, "churnwatch_window_state{state='ok'} == 1"), "a judged window")
        yield scene


def read(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((ROOT / "monitoring" / "grafana" / "dashboards" / name).read_text("utf-8"))
    return document


def chosen(prometheus: str, dashboard: dict[str, Any]) -> dict[str, str]:
    """The variables as Grafana would choose them at first: the first of what each query returns, or all of it."""
    values = {"__rate_interval": "1m"}
    for variable in dashboard["templating"]["list"]:
        query = substituted(variable["query"]["query"], values)
        if labels := re.fullmatch(r"label_values\((.+), (\w+)\)", query):
            found = sorted(get(prometheus, f"label/{labels[2]}/values", **{"match[]": labels[1]}))
        else:
            inner = re.fullmatch(r"query_result\((.+)\)", query)
            assert inner is not None, query
            series = [json.dumps(row["metric"]).replace('": "', '="') for row in ask(prometheus, inner[1])]
            found = [match[1] for text in series if (match := re.search(variable["regex"].strip("/"), text))]
        assert found, query
        values[variable["name"]] = variable["allValue"] if variable["includeAll"] else found[0]
    return values


def substituted(text: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"${name}", value)
    return text


def empty(prometheus: str, name: str) -> set[tuple[str, str, str]]:
    """The dashboard, title and legend of the expressions that return nothing now."""
    dashboard = read(name)
    values = chosen(prometheus, dashboard)
    return {
        (name, panel["title"], target["legendFormat"])
        for panel in dashboard["panels"]
        for target in panel.get("targets", [])
        if not ask(prometheus, substituted(target["expr"], values))
    }


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_panel_has_data(scene: Scene, name: str) -> None:
    def all_there() -> bool:
        scene.send()
        return empty(scene.prometheus, name) <= QUIET

    eventually(all_there, f"data for {sorted(empty(scene.prometheus, name) - QUIET)}, as far as known at first")


def test_the_run_that_is_served_comes_first_and_its_deployment_is_marked_when_it_began(scene: Scene) -> None:
    dashboard = read("drift.json")
    values = chosen(scene.prometheus, dashboard)
    deployments = next(note for note in dashboard["annotations"]["list"] if note["name"] == "Deployments")
    marked = {row["metric"]["job"]: row for row in ask(scene.prometheus, substituted(deployments["expr"], values))}
    since = float(marked["web"]["value"][1]) / 1000

    assert (values["contract"], values["run"]) == ("credit_card", scene.bundle.run_id)
    assert set(marked) == {"web", "stream"}
    assert timedelta(0) < datetime.now(UTC) - datetime.fromtimestamp(since, UTC) < timedelta(minutes=10)


def test_what_rings_is_named_and_drawn(scene: Scene) -> None:
    dashboard = read("drift.json")
    values = chosen(scene.prometheus, dashboard)
    table = next(panel for panel in dashboard["panels"] if panel["title"] == "Alarms that ring")
    band = next(note for note in dashboard["annotations"]["list"] if note["name"] == "Alarms")

    def rings(expression: str) -> set[tuple[str, str]]:
        rows = ask(scene.prometheus, substituted(expression, values))
        return {(row["metric"]["alertname"], row["metric"].get("feature", "")) for row in rows}

    assert ("FeatureDrift", "credit_limit") in eventually(lambda: rings(table["targets"][0]["expr"]), "an alarm")
    assert rings(band["expr"]) == rings(table["targets"][0]["expr"])


def test_every_rule_is_evaluated_and_every_recording_has_data(scene: Scene) -> None:
    groups = get(scene.prometheus, "rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    recordings = [rule["name"] for rule in rules if rule["type"] == "recording"]

    assert {rule["health"] for rule in rules} == {"ok"}, [rule for rule in rules if rule["health"] != "ok"]
    for name in recordings:
        scene.send()
        assert eventually(lambda name=name: ask(scene.prometheus, name), name)


def test_promtool_is_content_with_the_metrics_of_every_room(scene: Scene) -> None:
    for address in scene.targets.values():
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
            text = answer.read()
        ended = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, timeout=60)

        assert (ended.returncode, ended.stdout + ended.stderr) == (0, b""), address


def test_an_alarms_link_opens_evidentlys_own_page(scene: Scene) -> None:
    with urllib.request.urlopen(f"{scene.watch}/evidently/credit_card/{scene.bundle.run_id}", timeout=10) as answer:
        page = answer.read()

    assert answer.url.endswith("/" + scene.store.documents("evidently", limit=1)[0]["page"])
    assert b"<!doctype html>" in page.lower()
