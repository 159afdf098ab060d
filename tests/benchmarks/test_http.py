"""The HTTP benchmark's own arithmetic: goals, table, chart, and the account of a process tree."""

from __future__ import annotations

import os
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.http_chart import chart
from benchmarks.http_report import goals, show, write
from benchmarks.processes import Server, ServerError, cpu_between, free_port

FAMILY = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; [0 for _ in range(10**7)]; time.sleep(60)"])
time.sleep(60)
"""


def figures(rate: float, cpu: float) -> dict[str, float]:
    names = ("p50_ms", "p99_ms", "max_ms", "refused", "broken", "cpu_us_per_request_under_load")
    return {**dict.fromkeys(names, 1.0), "requests_per_second": rate, "cpu_us_per_request": cpu}


def contestant(name: str, rate: float, cpu: float) -> dict[str, Any]:
    levels = {str(number): figures(rate, cpu) for number in (1, 32, 256)}
    return {"name": name, "title": name, "start_seconds": 1.0, "worker_memory_mb": 90.0, "connections": levels}


@pytest.fixture
def document() -> dict[str, Any]:
    return {
        "command": "python -m benchmarks.http",
        "machine": {"cpu": "a <fast> one", "cores": 2},
        "model": "trees",
        "workers": 2,
        "rounds": 5,
        "contestants": [
            contestant("ours", 4_000.0, 80.0),
            contestant("floor", 5_000.0, 100.0),
            contestant("mlflow", 100.0, 9_000.0),
            contestant("bentoml", 400.0, 2_000.0),
            contestant("litserve", 800.0, 1_000.0),
            {"name": "mlserver", "title": "MLServer", "reason": "not installable: no wheel", "connections": {}},
        ],
    }


def test_goals_compare_ours_with_the_floor_and_with_the_best_rival(document: dict[str, Any]) -> None:
    found = {goal.words: (goal.value, goal.reached) for goal in goals(document)}
    assert found["CPU at 32 connections, of an empty Flask route's (aim: 0.7)"] == (0.8, True)
    assert found["requests/s at 32 connections, of an empty Flask route's"] == (0.8, True)
    assert found["requests/s at 256 connections, of an empty Flask route's"] == (0.8, False)
    assert found["times mlflow models serve, requests/s at 32 connections"] == (40.0, True)
    assert found["times the best of MLServer, BentoML and LitServe"] == (5.0, False)


def test_a_goal_that_was_not_measured_is_neither_reached_nor_missed(document: dict[str, Any]) -> None:
    assert {goal.reached for goal in goals(document) if "10,000" in goal.words} == {None}


def test_the_table_gives_the_reason_of_a_peer_that_is_not_there(
    document: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    show(document)
    assert "mlserver: not installable: no wheel" in capsys.readouterr().out


def test_the_chart_is_valid_and_its_bars_are_to_scale(document: dict[str, Any], tmp_path: Path) -> None:
    write(document, tmp_path)
    root = ElementTree.fromstring((tmp_path / "http.svg").read_text(encoding="utf-8"))  # noqa: S314  # our own
    bars = [bar for bar in root.iter("{http://www.w3.org/2000/svg}rect") if bar.get("class") != "page"]
    widths = {(bar.get("x"), bar.get("class")): float(bar.get("width") or 0) for bar in bars[:2]}
    assert list(widths.values()) == [300.0, 240.0]  # the floor at 5,000, ours at 4,000
    assert len(bars) == 10
    assert "a &lt;fast&gt; one" in chart(document)


def test_cpu_is_the_difference_and_counts_newcomers_from_zero() -> None:
    assert cpu_between({1: 2.0, 2: 1.0}, {1: 2.5, 2: 1.25, 3: 0.25}) == 1.0


def test_cpu_of_a_process_that_died_is_not_guessed() -> None:
    with pytest.raises(ServerError, match=r"processes died under load: \[2\]"):
        cpu_between({1: 2.0, 2: 1.0}, {1: 2.5})


def test_a_server_is_accounted_for_with_its_children_and_ended_with_them(tmp_path: Path) -> None:
    server = Server([sys.executable, "-c", FAMILY], os.environ, tmp_path, tmp_path / "log")
    try:
        poll(lambda: len(server.pids()) == 2)
        pids = server.pids()
        poll(lambda: server.cpu_seconds().get(pids[1], 0.0) > 0.1)
        assert server.worker_memory_mb() > 5
    finally:
        server.stop()
    poll(lambda: not any(runs(pid) for pid in pids))


def test_a_server_that_ends_too_early_is_told_with_its_last_words(tmp_path: Path) -> None:
    server = Server([sys.executable, "-c", "print('no such model'); raise SystemExit(3)"], {}, tmp_path, tmp_path / "l")
    with pytest.raises(ServerError, match="ended with code 3: no such model"):
        server.wait(lambda: False, 30.0)
    server.stop()


def test_children_of_a_server_that_died_are_ended_too(tmp_path: Path) -> None:
    died = FAMILY.replace("time.sleep(60)\n", "print(child.pid, flush=True); raise SystemExit(1)\n")
    server = Server([sys.executable, "-c", died], os.environ, tmp_path, tmp_path / "log")
    with pytest.raises(ServerError, match="ended with code 1"):
        server.wait(lambda: False, 30.0)
    server.stop()
    poll(lambda: not runs(int((tmp_path / "log").read_text(encoding="utf-8"))))


def test_free_ports_are_free() -> None:
    assert 1024 < free_port() < 65536


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def poll(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)
