"""A real Prometheus and a real Alertmanager over the running watch: a shift rings, its end resolves."""

from __future__ import annotations

import json
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
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
from tests import prometheus_process
from tests.fakes import random_customers, records
from tests.prometheus_process import Webhook, ask, eventually

pytestmark = pytest.mark.integration


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
def alertmanager(tmp_path: Path, webhook: Webhook) -> Iterator[str]:
    with prometheus_process.alertmanager(tmp_path, webhook) as url:
        yield url


@pytest.fixture
def prometheus(tmp_path: Path, watch: Any, alertmanager: str) -> Iterator[str]:
    with prometheus_process.prometheus(tmp_path, {"127.0.0.1:8085": f"127.0.0.1:{watch[2]}"}, alertmanager) as url:
        yield url


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


def tell(alertmanager: str, *alerts: dict[str, str]) -> None:
    """Send alerts that ring, as Prometheus does."""
    body = json.dumps([{"labels": labels} for labels in alerts]).encode()
    headers = {"Content-Type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(f"{alertmanager}/api/v2/alerts", body, headers), timeout=10).close()


def drift(feature: str, **labels: str) -> dict[str, str]:
    run = {"contract": "credit_card", "model_run_id": "r1"}
    return {"alertname": "FeatureDrift", "feature": feature, "severity": "page"} | run | labels


def test_what_rings_together_comes_in_one_notification_and_one_cause_silences_what_follows_from_it(
    alertmanager: str, webhook: Webhook
) -> None:
    tell(alertmanager, drift("age"), drift("income"), drift("tenure"), drift("tenure", alertname="BadInput"))
    eventually(lambda: len(webhook.groups) >= 2, "both groups at the webhook")
    rang = sorted((alert, labels["feature"]) for _, alert, labels in webhook.heard)

    assert sorted(webhook.groups) == [["BadInput"], ["FeatureDrift", "FeatureDrift"]]
    assert rang == [("BadInput", "tenure"), ("FeatureDrift", "age"), ("FeatureDrift", "income")]


def test_a_run_that_cannot_be_judged_rings_alone(alertmanager: str, webhook: Webhook) -> None:
    broken = drift("", alertname="WindowsBroken")
    tell(alertmanager, broken, drift("age"), drift("", alertname="JointDrift"), drift("income", model_run_id="r2"))
    eventually(lambda: len(webhook.groups) >= 2, "both groups at the webhook")

    assert {(alert, labels["model_run_id"]) for _, alert, labels in webhook.heard} == {
        ("WindowsBroken", "r1"),
        ("FeatureDrift", "r2"),
    }


def test_an_alert_that_somebody_took_on_by_its_labels_wakes_nobody_else(alertmanager: str, webhook: Webhook) -> None:
    command = [
        "amtool",
        f"--alertmanager.url={alertmanager}",
        "silence",
        "add",
        "alertname=FeatureDrift",
        "feature=age",
    ]
    taken = ["--author=ada", "--duration=4h", "--comment=taken on"]
    subprocess.run([*command, *taken], check=True, capture_output=True, timeout=30)
    tell(alertmanager, drift("age"), drift("income"))
    eventually(lambda: webhook.groups, "the other alert at the webhook")
    with urllib.request.urlopen(f"{alertmanager}/api/v2/alerts?silenced=true&active=false", timeout=10) as answer:
        silenced = [alert["labels"]["feature"] for alert in json.load(answer)]

    assert [labels["feature"] for _, _, labels in webhook.heard] == ["income"]
    assert silenced == ["age"]
