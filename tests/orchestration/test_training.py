"""One tuning on simulated customers, with everything but MLflow real."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from churn.bundle import load_bundle
from churn.contract import Contract
from churn.errors import FeatureStoreError
from churn.feature_store import FeatureStore, Manifest
from orchestration.families.family import FoldedRows, make_folds
from orchestration.families.xgboost_family import XGBoostFamily
from orchestration.training import TrainingSet, load_training_set
from orchestration.tuning import Plan, Tuned, in_threads, tune
from tests.fakes import random_customers
from tests.memory_tracker import MemoryTracker

FAST = ("xgboost", "decision_tree", "logistic")
MANIFEST = Manifest(
    contract="credit_card",
    contract_sha256="c" * 64,
    version="20260131T120000Z-0a1b2c3d",
    rows=1_000,
    churned_rows=200,
    quarantined_rows=0,
    sha256="f" * 64,
    quarantine_sha256="e" * 64,
    source="file.csv",
    source_sha256="d" * 64,
    created_at=datetime(2026, 1, 31, 12, tzinfo=UTC),
    validation={},
)


@pytest.fixture(scope="module")
def data(credit_card: Contract) -> TrainingSet:
    return TrainingSet(credit_card, MANIFEST, random_customers(credit_card, 1_000), seed=7, folds=3)


@pytest.fixture
def tracker(tmp_path: Path) -> MemoryTracker:
    return MemoryTracker(tmp_path)


def tuned_with(data: TrainingSet, tracker: MemoryTracker, trials: int, families: tuple[str, ...] = FAST) -> Tuned:
    plan = Plan(trials, families, show_progress=False, charts=False)
    return tune(data, tracker, plan, in_threads(data, tracker, families))  # type: ignore[arg-type]  # a double


def test_a_tuning_logs_each_candidate_and_registers_the_best(data: TrainingSet, tracker: MemoryTracker) -> None:
    tuned = tuned_with(data, tracker, trials=3)

    losses = [trial.metrics["cv_log_loss"] for trial in tuned.trials]
    assert losses == sorted(losses)
    assert (len(losses), tuned.failed, tuned.best) == (3, 0, tuned.trials[0])
    assert tracker.registered == [(tuned.best.run_id, tuned.test)]
    assert tuned.test["auc"] > 0.8


def test_every_bundle_is_whole_and_says_what_it_was_made_of(data: TrainingSet, tracker: MemoryTracker) -> None:
    tuned = tuned_with(data, tracker, trials=1)
    bundle = load_bundle(tracker.folder / tuned.best.run_id, tuned.best.digest)
    facts = bundle.manifest["facts"]
    reference = bundle.reference()

    assert bundle.threshold == tuned.best.metrics["threshold"]
    assert (facts["features_version"], facts["features_sha256"], facts["seed"]) == (MANIFEST.version, "f" * 64, 7)
    assert facts["parameters"] == tuned.best.parameters
    assert list(reference.columns) == [*data.contract.feature_names, "churn_probability", "churn", "churned"]
    assert len(reference) == len(data.parts.train)
    assert (reference["churn"] == (reference["churn_probability"] >= bundle.threshold)).all()
    assert bundle.profile()["columns"]


def test_the_references_scores_are_spread_as_those_of_unseen_customers(
    data: TrainingSet, tracker: MemoryTracker
) -> None:
    """Largest gap between the two distributions; 600 rows against 400 may differ by 0.105 one time in a hundred."""
    tuned = tuned_with(data, tracker, trials=2)
    bundle = load_bundle(tracker.folder / tuned.best.run_id)
    unseen = np.sort(bundle.probabilities(data.matrix[data.parts.unseen]))
    reference = np.sort(bundle.reference()["churn_probability"].to_numpy())

    gaps = np.searchsorted(reference, unseen) / len(reference) - np.searchsorted(unseen, unseen) / len(unseen)
    assert np.abs(gaps).max() < 0.105


def test_a_tuning_can_be_repeated_bit_for_bit(data: TrainingSet, tmp_path: Path) -> None:
    trackers = [MemoryTracker(tmp_path / name) for name in ("one", "two")]
    first, again = (tuned_with(data, tracker, trials=2) for tracker in trackers)

    assert [t.parameters for t in first.trials] == [t.parameters for t in again.trials]
    assert first.test == again.test


def test_features_of_another_contract_are_refused(credit_card: Contract) -> None:
    class Outdated(FeatureStore):
        """A feature store whose newest version was made by an older contract."""

        def __init__(self) -> None:
            self.bucket = "features-here"

        def latest(self, contract: str) -> str:
            return MANIFEST.version

        def manifest(self, contract: str, version: str) -> Manifest:
            return MANIFEST

    with pytest.raises(FeatureStoreError, match=r"was made by contract cccccccccccc, .*; ingest the file again"):
        load_training_set(credit_card, Outdated(), None, seed=7)


def test_folds_hold_every_row_once_and_their_share_of_both_classes() -> None:
    labels = np.array([True] * 21 + [False] * 79)
    folds = make_folds(labels, 5, seed=1)

    assert sorted(np.concatenate([held for _, held in folds])) == list(range(100))
    assert all(len(fit) + len(held) == 100 and not set(fit) & set(held) for fit, held in folds)
    assert sorted(int(labels[held].sum()) for _, held in folds) == [4, 4, 4, 4, 5]


def test_there_are_no_more_folds_than_leavers() -> None:
    """A fold without a leaver would have no recall, and its log loss would praise whoever never cries."""
    labels = np.array([True] * 3 + [False] * 97)
    folds = make_folds(labels, 5, seed=1)

    assert [int(labels[held].sum()) for _, held in folds] == [1, 1, 1]
    assert all(labels[fit].any() for fit, _ in folds)


def test_scores_in_cross_validation_are_of_rows_the_model_had_not_seen(data: TrainingSet) -> None:
    """Labels at random: a model that had seen its rows would score well, one that had not cannot."""
    labels = np.random.default_rng(1).random(1_000) < 0.5
    folds = make_folds(labels, 5, seed=1)
    parameters = {"eta": 0.3, "max_depth": 7}
    rows = FoldedRows(data.matrix, labels, folds)
    held_out = XGBoostFamily().cross_validate(parameters, rows, data.matrix[:10], seed=1)

    assert abs(np.corrcoef(held_out.log_odds, labels)[0, 1]) < 0.1
    assert held_out.unseen_log_odds.shape == (50,)
