"""Any stretch of the past is judged on demand, against the run's reference, another run's, or the stretch before."""

from __future__ import annotations

import json
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from churn.bundle import Bundle
from monitoring import commands
from monitoring.service import WatchService
from tests.monitoring.conftest import shifted

RUN, OTHER = "a" * 32, "b" * 32


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scene's store, and the bundle in a cache as after an earlier start: no MLflow anywhere."""
    cache = tmp_path / "cache"
    shutil.copytree(bundle.folder, cache / "bundles" / bundle.digest)
    (cache / "pointers").mkdir()
    (cache / "pointers" / bundle.run_id).write_text(json.dumps({"run_id": bundle.run_id, "digest": bundle.digest}))
    monkeypatch.setenv("STORE_URL", f"sqlite:///{tmp_path / 'store.db'}")
    monkeypatch.setenv("BUNDLE_CACHE", str(cache))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")


def judged(capsys: pytest.CaptureFixture[str], start: datetime, end: datetime, *more: str) -> dict[str, Any]:
    command = ["judge", "--from", start.isoformat(), "--to", end.isoformat(), "--json", *more]
    assert commands.judge_past(commands.parser().parse_args(command)) == 0
    verdict: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return verdict


def test_a_stretch_is_compared_with_the_reference_or_with_the_one_before(
    scene: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    began = scene.clock()
    scene.send(200)
    moved = scene.clock()
    scene.send(400, shifted("credit_limit", 150.0))
    middle, ended = moved + (scene.clock() - moved) / 2, scene.clock()
    quiet = judged(capsys, began, moved)
    against_reference = judged(capsys, middle, ended)
    against_quiet = judged(capsys, moved, middle, "--against", "previous")
    against_moved = judged(capsys, middle, ended, "--against", "previous")

    assert quiet["drifted"] == []
    assert "credit_limit" in against_reference["drifted"]
    assert "credit_limit" in against_quiet["drifted"]
    assert against_moved["drifted"] == []
    assert scene.store.documents("verdict") == []


def test_a_run_may_be_compared_with_another_runs_reference(scene: Any, capsys: pytest.CaptureFixture[str]) -> None:
    began = scene.clock()
    scene.send(200, run=OTHER)
    verdict = judged(capsys, began, scene.clock(), "--run", OTHER, "--reference", RUN)

    assert (verdict["model_run_id"], verdict["state"], verdict["drifted"]) == (OTHER, "ok", [])
    assert verdict["reference_rows"] == scene.reference.profile.reference.rows


def test_status_prints_what_the_page_shows_without_a_running_watch(
    scene: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WINDOW_ROWS", "200")
    monkeypatch.setattr(commands, "_now", scene.clock)
    scene.send(400, shifted("credit_limit", 150.0))
    scene.clock.advance(10)
    service = WatchService(scene.watch(), commands.CollectorRegistry(), 1.0, scene.clock)
    service.poll()
    commands.show_status(as_json=True)
    out = capsys.readouterr().out
    printed = json.loads(out[out.index("{\n") :])
    commands.show_status(as_json=False)
    text = capsys.readouterr().out

    assert printed["runs"] == json.loads(json.dumps(service.status()["runs"]))
    assert "▲ page: credit_limit drifted" in text
    assert "estimated: auc 0." in text
    assert "blind to concept drift" in text
