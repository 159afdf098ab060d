"""What the watch shows: gauges, the page, JSON and the terminal say the same; an outage of the store is waited out."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from churn.errors import SettingError, StoreUnavailable
from monitoring.gauges import SHOWN_RUNS
from monitoring.page import render, sparkline
from monitoring.server import StatusServer
from monitoring.service import WatchService
from monitoring.terminal import bars, status_text

RUN = "a" * 32
LABELS = {"contract": "credit_card", "model_run_id": RUN}


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def service(scene: Any, registry: CollectorRegistry) -> WatchService:
    return WatchService(scene.watch(), registry, 1.0, scene.clock)


@pytest.fixture
def address(service: WatchService, registry: CollectorRegistry) -> Iterator[str]:
    server = StatusServer("127.0.0.1", 0, registry, service.status, service.health)
    yield f"http://127.0.0.1:{server.port}"
    server.close()


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_the_gauges_tell_the_newest_window(
    scene: Any, service: WatchService, registry: CollectorRegistry, changes: Any
) -> None:
    scene.send(200)
    scene.send(400, changes["shift"])
    scene.clock.advance(10)
    service.poll()

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"churnwatch_{name}", {**LABELS, **labels})

    assert value("window_rows") == 200
    assert value("window_state", state="ok") == 1
    assert value("window_state", state="stale") == 0
    assert value("feature_drift_alarm", feature="credit_limit") == 1
    assert value("feature_drift_alarm", feature="customer_age") == 0
    assert (value("feature_drift_p_value", feature="credit_limit") or 1) < 0.01
    assert (value("feature_drift_score", feature="credit_limit", method="psi") or 0) > 0.2
    assert value("alarm", feature="credit_limit", check="drift", severity="page") == 1
    assert value("windows_judged_total", state="ok") == 3
    bins = [
        sample.value
        for family in registry.collect()
        if family.name == "churnwatch_feature_bin"
        for sample in family.samples
        if sample.labels["feature"] == "gender"
    ]
    assert sum(bins) == 600


def test_a_run_that_is_no_longer_watched_leaves_no_gauge_behind(service: WatchService, registry: Any) -> None:
    service.metrics.window_rows.show({("credit_card", "old"): 3.0})
    service.poll()

    assert (
        registry.get_sample_value("churnwatch_window_rows", {"contract": "credit_card", "model_run_id": "old"}) is None
    )


def test_of_many_runs_the_newest_are_shown_and_a_run_has_a_bounded_number_of_series(
    scene: Any, service: WatchService, registry: CollectorRegistry
) -> None:
    runs = [f"{number:032x}" for number in range(SHOWN_RUNS + 2)]
    for run in runs:
        scene.send(200, run=run, seconds_apart=0.01)
    scene.clock.advance(10)
    service.poll()
    metrics = [metric for metric in registry.collect() if metric.name != "churnwatch_windows_judged"]
    shown = {s.labels["model_run_id"] for m in metrics if m.type == "gauge" for s in m.samples if "feature" in s.labels}
    series = sum(s.labels.get("model_run_id") == runs[-1] for m in metrics for s in m.samples)

    assert shown == set(runs[2:])
    assert {run["model_run_id"] for run in service.status()["runs"]} == shown
    assert series < 2_000


def test_every_address_answers(scene: Any, service: WatchService, address: str, changes: Any) -> None:
    scene.send(400, changes["shift"])
    scene.clock.advance(10)
    service.poll()
    status, page = get(f"{address}/")
    document = json.loads(get(f"{address}/status.json")[1])

    assert status == 200
    assert "credit_limit drifted" in page
    assert document["runs"][0]["alarms"][0]["cause"] == "drift:credit_limit"
    assert document["runs"][0]["columns"][0]["column"] == "credit_limit"
    assert "churnwatch_feature_drift_score" in get(f"{address}/metrics")[1]
    assert get(f"{address}/health") == (200, '{"status": "ok"}')
    assert get(f"{address}/nothing")[0] == 404


def test_before_any_prediction_the_page_and_the_terminal_say_so(service: WatchService) -> None:
    assert "has just started" in render(service.status())
    service.poll()

    assert "No predictions in the store yet." in render(service.status())
    assert status_text(service.status(), colour=False) == "no predictions in the store yet"


def test_the_terminal_names_what_rings_first(scene: Any, service: WatchService, changes: Any) -> None:
    scene.send(400, changes["nulls"])
    scene.clock.advance(10)
    service.poll()
    lines = status_text(service.status(), colour=False).splitlines()

    assert lines[0] == f"credit_card {RUN}"
    assert lines[2] == "  0 of 200 predictions in the open window"
    assert lines[4].startswith("  ▲ page: total_trans_amt: 3")
    assert lines[5].startswith("  estimated: auc 0.")
    assert lines[6].startswith("  ▲ total_trans_amt ")


def test_the_badge_tells_an_alarm_while_one_rings_though_the_newest_window_could_be_judged(
    scene: Any, service: WatchService, changes: Any
) -> None:
    badges = []
    for change in (changes["shift"], changes["shift"], dict, dict):
        scene.send(200, change)
        scene.clock.advance(10)
        service.poll()
        badges.append(service.status()["runs"][0]["badge"])
        page, line = render(service.status()), status_text(service.status(), colour=False).splitlines()[1]
        assert f'<span class="state {badges[-1]}">{badges[-1]}</span>' in page
        assert line.startswith(f"  [{badges[-1]}] ")
        assert ("newest window: " in line) == (badges[-1] == "alarm")

    assert badges == ["ok", "alarm", "alarm", "ok"]


def test_a_run_that_serves_no_more_is_folded_away_and_rings_nothing(
    scene: Any, service: WatchService, registry: CollectorRegistry, changes: Any
) -> None:
    scene.send(400, changes["shift"])
    scene.clock.advance(10)
    service.poll()
    labels = {"contract": "credit_card", "model_run_id": RUN}
    rang = {**labels, "feature": "credit_limit", "check": "drift", "severity": "page"}
    before = registry.get_sample_value("churnwatch_alarm", rang)
    scene.clock.advance(3_600)
    scene.send(200, run="b" * 32)
    scene.clock.advance(10)
    service.poll()
    runs, page = service.status()["runs"], render(service.status())

    assert before == 1
    assert registry.get_sample_value("churnwatch_alarm", rang) is None
    assert registry.get_sample_value("churnwatch_run_retired", labels) == 1
    assert registry.get_sample_value("churnwatch_run_retired", {**labels, "model_run_id": "b" * 32}) == 0
    assert [(run["model_run_id"], run["badge"]) for run in runs] == [("b" * 32, "ok"), (RUN, "retired")]
    assert page.index("b" * 32) < page.index("<summary>1 run serves no more</summary>") < page.index(RUN)


def test_what_came_from_outside_is_escaped_on_the_page(service: WatchService) -> None:
    service.poll()
    run = {
        "contract": "<script>",
        "model_run_id": "&",
        "state": "broken",
        "badge": "alarm",
        "reason": "<b>",
        "open": "<u>",
        "alarms": [{"severity": "page", "summary": "<i>"}],
        "window": None,
        "columns": [],
        "evidently": None,
        "performance": {"estimated": None, "realised": None, "concept_drift": None, "joint": None},
        "history": [],
    }
    page = render({"at": "now", "runs": [run]})

    assert not any(tag in page for tag in ("<script>", "<b>", "<i>", "<u>"))


def test_an_outage_of_the_store_is_counted_told_and_waited_out(
    scene: Any, service: WatchService, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = threading.Event()
    polls: list[int] = []

    def failing() -> Any:
        polls.append(1)
        scene.clock.advance(120)
        if len(polls) == 3:
            stop.set()
        raise StoreUnavailable("store.db: locked")

    monkeypatch.setattr(service, "poll", failing)
    service._poll_seconds = 0.001
    service.run(stop)

    assert registry.get_sample_value("churnwatch_watch_poll_failures_total") == 3
    assert service.health() == "no successful poll for 360 s: store.db: locked"


def test_a_port_in_use_ends_with_a_sentence(service: WatchService, registry: CollectorRegistry, address: str) -> None:
    port = int(address.rpartition(":")[2])

    with pytest.raises(SettingError, match=f"WATCH_PORT={port}: expected a free port"):
        StatusServer("127.0.0.1", port, registry, service.status, service.health)


def test_sparklines_leave_gaps_for_windows_without_a_verdict() -> None:
    assert bars([0.0, None, 0.05, 0.1]) == "▁ ▅█"
    assert sparkline([0.1]) == ""
    assert "3 windows, up to 0.200" in sparkline([0.0, 0.2, None, 0.1])


def test_what_alertmanager_sends_is_seen_on_the_page(service: WatchService, registry: CollectorRegistry) -> None:
    server = StatusServer("127.0.0.1", 0, registry, service.status, service.health, notify=service.notify)
    alert = {"status": "firing", "labels": {"alertname": "JournalOld"}, "annotations": {"summary": "<waits>"}}
    codes = []
    for body in (json.dumps({"alerts": [alert]}), "[]", "no json", '{"alerts": [{}]}'):
        request = urllib.request.Request(f"http://127.0.0.1:{server.port}/alerts", data=body.encode(), method="POST")
        try:
            codes.append(urllib.request.urlopen(request, timeout=10).status)
        except urllib.error.HTTPError as error:
            codes.append(error.code)
    page = get(f"http://127.0.0.1:{server.port}/")[1]
    server.close()

    assert codes == [200, 400, 400, 400]
    assert "JournalOld" in page
    assert "&lt;waits&gt;" in page
