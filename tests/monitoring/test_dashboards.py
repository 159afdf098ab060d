"""Grafana's dashboards are what the code builds, complete, laid out without overlaps, of metrics that exist."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from churn.drift import MINIMUM_EFFECT
from churn.joint_drift import THRESHOLD
from monitoring.alarms import PAGE_EFFECT
from monitoring.grafana.board import RUNBOOK_PANEL, WIDTH, runbook
from monitoring.grafana.build import DASHBOARDS, FOLDER, render

ROOT = Path(__file__).resolve().parents[2]
ALERTS = re.findall(r"- alert: (\w+)", (ROOT / "monitoring/prometheus/alerts.yml").read_text(encoding="utf-8"))
RECORDED = re.findall(r"record: (\S+)", (ROOT / "monitoring/prometheus/recording.yml").read_text(encoding="utf-8"))
NAMES = pytest.mark.parametrize("name", DASHBOARDS)


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    return found


def drawn(name: str) -> Iterator[dict[str, Any]]:
    """The panels that ask something."""
    return (panel for panel in read(name)["panels"] if panel["type"] not in ("row", "text"))


def expressions(name: str) -> list[str]:
    asked = [target["expr"] for panel in drawn(name) for target in panel["targets"]]
    return asked + [note["expr"] for note in read(name)["annotations"]["list"]]


@NAMES
def test_the_file_is_what_the_code_builds(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == render(name), "run `make dashboards`"


def test_nothing_else_is_provisioned() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(DASHBOARDS)


@NAMES
def test_every_panel_has_words_a_unit_and_a_text_for_when_it_is_empty(name: str) -> None:
    for panel in drawn(name):
        assert panel["title"], panel
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["noValue"], panel["title"]
        assert all(target["legendFormat"] for target in panel["targets"])


@NAMES
def test_panels_fill_the_width_and_never_overlap(name: str) -> None:
    panels = read(name)["panels"]
    cells = [
        {(x, y) for x in range(g["x"], g["x"] + g["w"]) for y in range(g["y"], g["y"] + g["h"])}
        for g in (panel["gridPos"] for panel in panels)
    ]
    everything = set().union(*cells)

    assert not any(one & other for one, other in combinations(cells, 2))
    assert everything == {(x, y) for x in range(WIDTH) for y in range(max(y for _, y in everything) + 1)}
    assert len({panel["id"] for panel in panels}) == len(panels)


@NAMES
def test_the_first_row_begins_with_whether_anything_rings_and_the_next_names_it(name: str) -> None:
    first, *others = read(name)["panels"]
    table = next(panel for panel in others if panel["type"] == "table")

    assert (first["title"], first["type"]) == ("Alarms", "stat")
    assert (table["title"], table["gridPos"]["y"]) == ("Alarms that ring", 5)


@NAMES
def test_variables_annotations_and_links_are_the_same_everywhere(name: str) -> None:
    made = read(name)
    variables = [variable["name"] for variable in made["templating"]["list"]]
    used = {word for text in expressions(name) for word in re.findall(r"\$(\w+)", text)} - {"__rate_interval"}
    links = {link["title"] for link in made["links"]}

    assert variables[:2] == ["contract", "run"]
    assert used <= set(variables)
    assert ("feature" in variables) == (name == "drift.json")
    assert [note["name"] for note in made["annotations"]["list"]] == ["Deployments", "Alarms"]
    assert {"Runbook", "The watch's page", "Evidently's newest page", "Reports"} <= links


@NAMES
def test_it_holds_the_runbook_of_its_own_alerts(name: str) -> None:
    panels = read(name)["panels"]
    page = next(panel for panel in panels if panel["id"] == RUNBOOK_PANEL)
    told = re.findall(r"^### (\w+)$", page["options"]["content"], flags=re.MULTILINE)
    asked = re.findall(r'alertname=~"([\w|]+)"', panels[0]["targets"][0]["expr"])

    assert asked == ["|".join(told)]
    assert set(told) <= set(ALERTS)


def test_every_alert_is_on_a_dashboard() -> None:
    shown = {word for name in DASHBOARDS for text in expressions(name) for word in re.findall(r"\w+", text)}

    assert set(ALERTS) <= shown


def limits() -> Iterator[tuple[str, str, float]]:
    """Of each alert: its name, a metric that it reads, and the value at which it rings, as its expression has it."""
    rules = yaml.safe_load((ROOT / "monitoring/prometheus/alerts.yml").read_text(encoding="utf-8"))["groups"]
    for rule in (rule for group in rules for rule in group["rules"]):
        metrics = re.findall(r"(?:churnwatch[:_][\w:]+|\bup)\b", rule["expr"])
        asked = re.search(r"(?:>|<|==) *([\d.]+)(?: \* ([\d.]+))?(?: or .*| unless .*)?$", rule["expr"])
        assert asked, rule["expr"]
        yield rule["alert"], metrics[0], float(asked[1]) * float(asked[2] or 1)


SHOWN_OTHERWISE = {
    "FeatureDrift": "churnwatch_feature_drift_score",
    "JointDrift": "churnwatch_joint_drift_p_value",
    "BadInput": "churnwatch_feature_quality_threshold",
}
"""They read what rings; what it rings for has its limit drawn: of an effect, a chance, a share."""
LIMITS_OF_CAUSES = {"FeatureDrift": {MINIMUM_EFFECT, PAGE_EFFECT}, "JointDrift": {THRESHOLD}}
"""Those limits, as the judging code has them."""
IN_WORDS = ("WindowsBroken", "NoPredictions", "ServiceDown", "GatewayDown")
"""There is nothing between well and not: states are told in words and colours."""
TOLD_ALONE = ("ConceptDrift", "WatchDown", "RecordsRejected")
"""ADWIN has no limit but its own memory; a watch that is down exports nothing; one rejected record rings."""
LIMITS = [limit for limit in limits() if limit[0] not in TOLD_ALONE]


def thresholds(panel: dict[str, Any]) -> set[float]:
    steps = {step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]}
    return {float(value) for value in steps if value is not None}


@pytest.mark.parametrize(("alert", "metric", "limit"), LIMITS, ids=[alert for alert, _, _ in LIMITS])
def test_what_an_alert_rings_at_is_drawn(alert: str, metric: str, limit: float) -> None:
    read_by_panels = SHOWN_OTHERWISE.get(alert, metric)
    panels = [
        panel
        for name in DASHBOARDS
        for panel in drawn(name)
        if any(read_by_panels in target["expr"] for target in panel["targets"])
    ]

    if alert == "BadInput":
        assert any("allowed" in target["legendFormat"] for panel in panels for target in panel["targets"])
    elif alert in LIMITS_OF_CAUSES:
        assert [limits for panel in panels if (limits := thresholds(panel))] == [LIMITS_OF_CAUSES[alert]]
    elif alert in IN_WORDS:
        assert any(panel["fieldConfig"]["defaults"].get("mappings") for panel in panels)
    else:
        at = {limit, limit + 1}  # of whole things, more than one is two
        figures = [panel for panel in panels if panel["type"] in ("stat", "timeseries")]
        assert figures
        assert [panel["title"] for panel in figures if not thresholds(panel) & at] == []


def test_every_quantile_of_answers_has_the_limit_of_the_recorded_one() -> None:
    """That panel reads the histogram itself, for three quantiles; the alert reads the recorded 99 of 100."""
    limit = next(limit for alert, _, limit in LIMITS if alert == "SlowAnswers")
    panel = next(panel for panel in drawn("serving.json") if "prediction_seconds_bucket" in panel["targets"][0]["expr"])

    assert thresholds(panel) == {limit}


def test_lines_with_a_limit_draw_it() -> None:
    """A time series shows its thresholds only when told to."""
    for panel in (panel for name in DASHBOARDS for panel in drawn(name) if panel["type"] == "timeseries"):
        style = panel["fieldConfig"]["defaults"]["custom"].get("thresholdsStyle", {}).get("mode", "off")
        assert (style == "dashed") == bool(thresholds(panel)), panel["title"]


def test_an_alert_without_a_paragraph_cannot_be_put_on_a_dashboard() -> None:
    with pytest.raises(KeyError, match="NoSuchAlert"):
        runbook(["NoSuchAlert"])


@NAMES
def test_panels_speak_of_metrics_that_exist(name: str, known_metrics: set[str]) -> None:
    variables = [variable["query"]["query"] for variable in read(name)["templating"]["list"]]
    text = " ".join(expressions(name) + variables)

    assert set(re.findall(r"(?<![:\w])churnwatch_\w+", text)) <= known_metrics
    assert set(re.findall(r"churnwatch:[\w:]+", text)) <= set(RECORDED)


def test_prometheus_can_read_every_expression(tmp_path: Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    asked = [text.replace("$__rate_interval", "1m") for name in DASHBOARDS for text in expressions(name)]
    rules = [{"record": f"panel:{place}", "expr": text} for place, text in enumerate(asked)]
    (tmp_path / "rules.json").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    command = ["promtool", "check", "rules", str(tmp_path / "rules.json")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 0, ended.stdout + ended.stderr
