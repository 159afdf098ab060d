"""The tuning benchmark runs: every search and every table of models, on few rows and trials."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import tune, tune_models, tune_searches

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def customers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("customers") / "customers.csv"
    command = [sys.executable, "-m", "simulation", "make-data", "--rows", "500", "--out", str(path)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=120)
    return path


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune_searches, "PLAIN_ROUNDS", 5)
    monkeypatch.setattr(tune_models, "SEEDS", (7,))


def test_every_search_tells_how_long_it_took_and_how_good_it_is(
    customers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = ("ours with xgboost alone", "optuna", "plain")
    monkeypatch.setattr(tune, "CONTESTANTS", {name: tune_searches.CONTESTANTS[name] for name in some})
    monkeypatch.setattr(tune, "ROUNDS", 2)
    told = tune.contest(customers, 1)

    assert tuple(told) == some
    for one in told.values():
        assert {"seconds", "cv_log_loss", "test_auc", "test_brier"} <= set(one)
        assert len(one["rounds_seconds"]) == 2
        assert 0 < one["cv_log_loss"] < 1


def test_models_are_judged_on_rows_that_nothing_was_chosen_by(customers: Path) -> None:
    told: list[dict[str, Any]] = tune_models.credit_card_figures(customers, 1)

    assert [one["seed"] for one in told] == [7]
    assert told[0]["auc"] > 0.7
