"""What a tuning leaves to be read: the table of trials, the page with the curves, the data."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import precision_score, recall_score, roc_auc_score

from churn.contract import Contract
from orchestration.comparison_page import COLUMNS, comparison_page, in_order, trials_table
from orchestration.contenders import Contender, calibration, contender, explain, roc, threshold_curve
from orchestration.data_report import data_report
from orchestration.model_code import served_files
from orchestration.outcome import Outcome, Trial
from orchestration.training import TrainingSet
from tests.fakes import random_customers
from tests.memory_tracker import MemoryTracker
from tests.orchestration.test_training import MANIFEST, tuned_with

METRICS = {metric: 0.5 for metric, _, _ in COLUMNS.values()}
TEST = {"auc": 0.9, "average_precision": 0.8, "log_loss": 0.3, "brier": 0.1, "recall": 0.7, "precision": 0.6}


@pytest.fixture(scope="module")
def data(credit_card: Contract) -> TrainingSet:
    return TrainingSet(credit_card, MANIFEST, random_customers(credit_card, 600), seed=7, folds=3).prepare()


@pytest.fixture(scope="module")
def tracker(data: TrainingSet, tmp_path_factory: pytest.TempPathFactory) -> MemoryTracker:
    tracker = MemoryTracker(tmp_path_factory.mktemp("runs"))
    tuned_with(data, tracker, trials=2, families=("xgboost", "logistic"))
    return tracker


@pytest.fixture(scope="module")
def best(data: TrainingSet, tracker: MemoryTracker) -> Contender:
    return contender(tracker.fetch(tracker.registered[0][0], "", Path()), data)


def finished(number: int, loss: float) -> Outcome:
    trial = Trial(f"{number:032x}", f"m-{number}", "d" * 64, "xgboost", {"eta": 0.1}, {**METRICS, "cv_log_loss": loss})
    return Outcome(number, "finished", "xgboost", {"eta": 0.123456}, loss, trial=trial)


OUTCOMES = [
    finished(0, 0.3),
    Outcome(1, "failed", "lightgbm", {}, reason="ValueError: <no>"),
    Outcome(2, "pruned", "logistic", {"C": 1.0}, 0.9, (0.9,), "log loss 0.9000 after 1 of 3 folds"),
    finished(3, 0.2),
]


def test_the_table_holds_every_trial_the_best_first() -> None:
    table = trials_table(OUTCOMES)

    assert [one.number for one in in_order(OUTCOMES)] == table["trial"] == [3, 0, 2, 1]
    assert table["rank"] == [1, 2, None, None]
    assert table["status"] == ["finished", "finished", "pruned", "failed"]
    assert set(COLUMNS) <= set(table)
    assert table["cv_log_loss"] == [0.2, 0.3, None, None]
    assert {len(column) for column in table.values()} == {4}


def test_the_page_is_whole_says_all_and_escapes(data: TrainingSet, tmp_path: Path) -> None:
    image = tmp_path / "roc.png"
    image.write_bytes(b"png")
    page = comparison_page(data, OUTCOMES, {**TEST, "contacted_share": 0.2}, [image])
    HTMLParser().feed(page)

    assert f"RUN_ID=<code>{3:032x}</code>" in page
    assert all(title in page for _, title, _ in COLUMNS.values())
    assert "ValueError: &lt;no&gt;" in page
    assert "log loss 0.9000 after 1 of 3 folds" in page
    assert not re.search(r'(src|href)="(?!data:)', page)  # nothing is fetched


def test_a_tuning_logs_its_table_and_pages(tracker: MemoryTracker) -> None:
    assert tracker.files == ["comparison/candidates.html", "comparison/data.html", "trials.json"]


def test_the_curves_are_those_of_the_books(data: TrainingSet, best: Contender) -> None:
    labels = data.labels[data.parts.validation]
    curve = threshold_curve(best, labels, data.contract.decision)
    place = len(labels) // 3
    contacted = best.probabilities >= curve.thresholds[place]
    false, true = roc(best, labels)
    given, left = calibration(best, labels)

    assert np.trapezoid(true, false) == pytest.approx(roc_auc_score(labels, best.probabilities))
    assert curve.recall[place] == pytest.approx(recall_score(labels, contacted))
    assert curve.precision[place] == pytest.approx(precision_score(labels, contacted))
    assert np.all(np.diff(given) >= 0)
    assert left.mean() == pytest.approx(labels.mean())  # tenths of equally many


def test_contributions_are_told_feature_by_feature(data: TrainingSet, best: Contender) -> None:
    told = explain(best, data)
    log_odds = np.log(best.probabilities / (1 - best.probabilities))[: len(told.contributions)]
    rest = log_odds - told.contributions.sum(axis=1)

    assert told.features == data.contract.feature_names
    assert np.ptp(rest) < 1e-4  # what is left is the base value, the same for all
    assert math.isclose(float(np.nanmax(told.ranks)), 1.0)


def test_the_data_report_names_every_feature(data: TrainingSet) -> None:
    page = data_report(data)
    HTMLParser().feed(page)

    assert all(f"<td>{name}</td>" in page for name in data.contract.feature_names)
    assert "train 360, validation 120, test 120" in page


@pytest.mark.integration  # matplotlib takes a second to import
def test_charts_are_drawn(data: TrainingSet, best: Contender, tmp_path: Path) -> None:
    from orchestration.charts import draw_charts

    drawn = draw_charts(tmp_path, [best], data)

    assert [path.stem for path in drawn] == ["roc", "precision_recall", "calibration", "threshold_profit", "shap"]
    assert all(path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 10_000 for path in drawn)


def test_a_logged_model_brings_what_it_imports_and_no_more() -> None:
    files = served_files()

    assert {"__init__.py", "bundle.py", "encoder.py", "model.py", "contract_reader.py"} <= set(files)
    assert not any(name.startswith(("store", "journal", "settings", "metrics")) for name in files)
