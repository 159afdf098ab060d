"""A real Prometheus and a real Alertmanager over the running watch: a shift rings, its end resolves."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from churn.bundle import Bundle
from churn.histogram import SCORE
from churn.scoring import Scorer
from churn.store import open_store
from monitoring.reference import open_reference
from monitoring.server import StatusServer
from monitoring.service import WatchService
from monitoring.watch import Watch, WatchRules
from monitoring.windows import CountWindows
from tests.fakes import random_customers, records

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]
DEADLINE_SECONDS = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(question: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        try:
            if answer := question():
                return answer
        except OSError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"within {DEADLINE_SECONDS:.0f} s there was no {what}")


class Webhook:
    """A pager that remembers what rang: (status, alert, labels)."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str, dict[str, str]]] = []
        heard = self.heard

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                heard.extend((a["status"], a["labels"]["alertname"], a["labels"]) for a in document["alerts"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def rang(self, status: str, alert: str) -> dict[str, str] | None:
        return next((labels for s, a, labels in list(self.heard) if (s, a) == (status, alert)), None)


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    webhook = Webhook()
    yield webhook
    webhook.server.shutdown()


@pytest.fixture
def watch(tmp_path: Path, bundle: Bundle) -> Iterator[tuple[WatchService, Callable[..., None], int]]:
    """A watch on real traffic, polled by the test, and a way to send more."""
    store = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    store.check()
    times = [datetime.now(UTC) - timedelta(minutes=10)]

    def tick() -> datetime:
        times[0] += timedelta(milliseconds=10)
        return times[0]

    def send(rows: int, shift: float = 0.0, seed: int = 1) -> None:
        frame = random_customers(bundle.contract, rows, seed)
        frame["credit_limit"] += shift
        outcomes = Scorer(bundle, tick).score(records(frame, bundle.contract), "http")
        store.save([outcome for outcome in outcomes if not isinstance(outcome, Exception)])

    reference = open_reference(bundle)
    rules = WatchRules(stale_seconds=86_400)
    rule = CountWindows(250, 0.0)
    service = WatchService(
        Watch(store, rule, rules, lambda *_: reference, lambda: datetime.now(UTC)),
        registry := CollectorRegistry(),
        0.2,
        lambda: datetime.now(UTC),
    )
    server = StatusServer("127.0.0.1", 0, registry, service.status, service.health)
    stop = threading.Event()
    thread = threading.Thread(target=service.run, args=(stop,))
    thread.start()
    yield service, send, server.port
    stop.set()
    thread.join()
    server.close()
    store.close()


@pytest.fixture
def prometheus(tmp_path: Path, watch: Any, webhook: Webhook) -> Iterator[str]:
    """Both started from the shipped files, with free ports and no patience."""
    if not shutil.which("prometheus") or not shutil.which("prometheus-alertmanager"):
        pytest.skip("prometheus and prometheus-alertmanager are not installed")
    ports = {"prometheus": free_port(), "alertmanager": free_port()}
    configuration = tmp_path / "prometheus"
    shutil.copytree(ROOT / "monitoring" / "prometheus", configuration)
    edit(
        configuration / "prometheus.yml",
        {
            "127.0.0.1:8085": f"127.0.0.1:{watch[2]}",
            ":9093": f":{ports['alertmanager']}",
            "_interval: 5s": "_interval: 1s",
        },
    )
    edit(configuration / "recording.yml", {"interval: 1m": "interval: 1s"})
    shutil.copy(ROOT / "monitoring" / "alertmanager" / "alertmanager.yml", tmp_path)
    edit(
        tmp_path / "alertmanager.yml",
        {
            "http://127.0.0.1:8085/alerts": f"http://127.0.0.1:{webhook.server.server_address[1]}/",
            "group_wait: 10s": "group_wait: 1s",
            "group_interval: 1m": "group_interval: 1s",
        },
    )
    commands = [
        [
            "prometheus-alertmanager",
            f"--config.file={tmp_path / 'alertmanager.yml'}",
            f"--storage.path={tmp_path / 'am'}",
            f"--web.listen-address=127.0.0.1:{ports['alertmanager']}",
            "--cluster.listen-address=",
        ],
        [
            "prometheus",
            f"--config.file={configuration / 'prometheus.yml'}",
            f"--storage.tsdb.path={tmp_path / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{ports['prometheus']}",
            "--rules.alert.resend-delay=1s",
        ],
    ]
    processes = []
    with (tmp_path / "log").open("wb") as log:
        processes = [subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT) for command in commands]
    try:
        url = f"http://127.0.0.1:{ports['prometheus']}"
        eventually(lambda: urllib.request.urlopen(f"{url}/-/ready", timeout=5).status == 200, "Prometheus")
        yield url
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(20)


def edit(path: Path, changes: dict[str, str]) -> None:
    text = path.read_text(encoding="utf-8")
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")


def ask(url: str, expression: str) -> list[dict[str, Any]]:
    query = urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(f"{url}/api/v1/query?{query}", timeout=10) as answer:
        result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return result


def test_a_shift_rings_at_the_webhook_and_its_end_resolves(watch: Any, prometheus: str, webhook: Webhook) -> None:
    _, send, _ = watch
    send(250, seed=1)
    eventually(lambda: ask(prometheus, "churnwatch_window_state{state='ok'} == 1"), "judged window in Prometheus")
    assert ask(prometheus, "ALERTS{alertname='FeatureDrift'}") == []

    send(500, shift=100.0, seed=2)
    labels = eventually(lambda: webhook.rang("firing", "FeatureDrift"), "alert at the webhook")
    assert (labels["feature"], labels["contract"], labels["severity"]) == ("credit_limit", "credit_card", "page")
    assert not webhook.rang("firing", "BadInput")

    send(500, seed=3)
    eventually(lambda: webhook.rang("resolved", "FeatureDrift"), "end of the alert at the webhook")


def test_every_metric_of_a_judged_window_can_be_asked_for(watch: Any, prometheus: str) -> None:
    _, send, _ = watch
    send(250, seed=1)
    eventually(lambda: ask(prometheus, "churnwatch_window_rows"), "judged window in Prometheus")
    send(1_000, seed=4)
    for expression in (
        "churnwatch_feature_drift_score{method='effect'}",
        "churnwatch_feature_drift_p_value > on (model_run_id) group_left () churnwatch_feature_drift_threshold",
        "churnwatch_feature_missing_ratio",
        "churnwatch_feature_importance_ratio",
        "churnwatch_auc{kind='estimated'}",
        "churnwatch:feature_psi:6h",
    ):
        assert eventually(lambda expression=expression: ask(prometheus, expression), expression)
    psi = eventually(lambda: ask(prometheus, f"churnwatch:feature_psi:6h{{feature='{SCORE}'}}"), "PSI of the score")

    assert float(psi[0]["value"][1]) < 0.5
