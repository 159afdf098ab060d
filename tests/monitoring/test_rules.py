"""Prometheus' and Alertmanager's files are valid, tested, explained, and speak of metrics that exist."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS, ALERTMANAGER = ROOT / "monitoring" / "prometheus", ROOT / "monitoring" / "alertmanager"
ALERTS = (PROMETHEUS / "alerts.yml").read_text(encoding="utf-8")
RECORDING = (PROMETHEUS / "recording.yml").read_text(encoding="utf-8")
NAMES = re.findall(r"- alert: (\w+)", ALERTS)


@pytest.mark.parametrize(
    "command",
    [
        ("promtool", "check", "config", str(PROMETHEUS / "prometheus.yml")),
        ("promtool", "test", "rules", str(PROMETHEUS / "tests" / "rules_test.yml")),
        ("amtool", "check-config", str(ALERTMANAGER / "alertmanager.yml")),
    ],
    ids=lambda command: " ".join(command[:3]),
)
def test_their_own_tools_are_content(command: tuple[str, ...]) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("name", NAMES)
def test_every_alert_has_words_a_figure_a_test_and_a_paragraph_in_the_runbook(name: str) -> None:
    rule = ALERTS.split(f"- alert: {name}\n")[1].split("- alert:")[0]
    anchor = re.search(r"runbook_url: docs/operations\.md#(\w+)", rule)
    runbook = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8").lower()
    tested = (PROMETHEUS / "tests" / "rules_test.yml").read_text(encoding="utf-8")

    assert anchor is not None
    assert f"\n## {anchor[1]}\n" in runbook
    assert "summary:" in rule
    assert "figure:" in rule
    assert f"name: {name} rings" in tested


def test_rules_speak_of_metrics_that_exist(known_metrics: set[str]) -> None:
    assert set(re.findall(r"(?<![:\w])churnwatch_\w+", ALERTS + RECORDING)) <= known_metrics
