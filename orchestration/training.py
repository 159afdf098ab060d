"""One trial, and a whole tuning: features -> split -> search -> calibrated, explained, logged candidates -> the best.

Plain functions: flows.py makes them Prefect flows, tracking.py speaks to MLflow.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from churn.bundle import Bundle, save_bundle
from churn.calibration import Calibration, fit_calibration
from churn.contract import Contract
from churn.encoder import Encoder, frame_records
from churn.errors import FeatureStoreError
from churn.feature_store import FeatureStore, Manifest
from churn.histogram import make_profile
from churn.model import Matrix, Model
from churn.split import Split, split
from orchestration.evaluation import align, choose_threshold, decision_metrics, log_loss_of_log_odds, ranking_metrics
from orchestration.families import HOMES, make_families
from orchestration.families.family import CrossValidated, Family, Folds, Labels, LogOdds, make_folds
from orchestration.search import search

if TYPE_CHECKING:
    from orchestration.tracking import Tracker

GOLDEN_ROWS = 50
EXAMPLE_ROWS = 2
REFERENCE_ROWS = 20_000
"""Most rows kept as a reference; more would make bundles large and judge windows no better."""


@dataclass(frozen=True)
class TrainingSet:
    """A version of features, split and encoded once for all trials."""

    contract: Contract
    manifest: Manifest
    frame: pd.DataFrame
    seed: int

    @cached_property
    def matrix(self) -> Matrix:
        return Encoder(self.contract).encode_frame(self.frame)

    @cached_property
    def labels(self) -> Labels:
        return np.asarray(self.frame["churned"], dtype=bool)

    @cached_property
    def parts(self) -> Split:
        return split(self.frame, self.seed)


@dataclass(frozen=True)
class Candidate:
    """A fitted model with all that a bundle needs beside it."""

    model: Model
    calibration: Calibration
    threshold: float
    reference: pd.DataFrame
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Trial:
    """One logged candidate."""

    run_id: str
    model_id: str
    digest: str
    family: str
    parameters: Mapping[str, Any]
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Tuned:
    """What a tuning found. `test` holds the best one's metrics on rows that nothing was chosen by."""

    parent_run_id: str
    best: Trial
    trials: tuple[Trial, ...]
    failed: int
    model_version: int
    features_version: str
    test: Mapping[str, float]


def load_training_set(contract: Contract, store: FeatureStore, version: str | None, seed: int) -> TrainingSet:
    """Pull a version of features, the newest unless given. Raises FeatureStoreError when the contract has moved on."""
    version = version or store.latest(contract.name)
    manifest = store.manifest(contract.name, version)
    if manifest.contract_sha256 != contract.sha256:
        raise FeatureStoreError(
            f"{store.url(contract.name, version)} was made by contract {manifest.contract_sha256[:12]}, "
            f"contracts/{contract.name}.toml is now {contract.hash}; ingest the file again"
        )
    return TrainingSet(contract, manifest, store.read(contract.name, version), seed)


def tune(
    data: TrainingSet,
    tracker: Tracker,
    trials: int,
    folds: int,
    time_budget_seconds: float | None = None,
    show_progress: bool = True,
    families: Sequence[str] = tuple(HOMES),
) -> Tuned:
    """Search, log every candidate, register the best as `challenger`. Raises SearchFailed or RegistryUnavailable."""
    candidates = make_families(families)
    row_folds = make_folds(data.labels[data.parts.train], folds, data.seed)
    with tracker.tuning(data.contract, data.manifest, data.seed) as parent_run_id:

        def trial(number: int, family: str, parameters: Mapping[str, Any]) -> tuple[float, Trial]:
            one = run_trial(number, candidates[family], parameters, data, row_folds, tracker)
            return one.metrics["cv_log_loss"], one

        found, failed = search(trial, list(candidates.values()), trials, data.seed, time_budget_seconds, show_progress)
        best = found[0].result
        with tempfile.TemporaryDirectory() as folder:
            test = evaluate(tracker.fetch(best.run_id, data.contract.name, Path(folder)), data)
        version = tracker.finish(data.contract, best, [one.result for one in found], test)
    return Tuned(
        parent_run_id=parent_run_id,
        best=best,
        trials=tuple(one.result for one in found),
        failed=failed,
        model_version=version,
        features_version=data.manifest.version,
        test=test,
    )


def run_trial(
    number: int, family: Family, parameters: Mapping[str, Any], data: TrainingSet, folds: Folds, tracker: Tracker
) -> Trial:
    """Make a candidate and log its bundle as a nested run."""
    candidate = fit_candidate(family, parameters, data, folds)
    golden = _golden(data)
    with tracker.trial(number, family.name, parameters) as run_id, tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "bundle"
        digest = save_bundle(
            folder,
            run_id=run_id,
            contract=data.contract,
            model=candidate.model,
            calibration=candidate.calibration,
            threshold=candidate.threshold,
            reference=candidate.reference,
            profile=make_profile(data.contract, candidate.reference),
            golden_records=golden,
            facts={
                "features_version": data.manifest.version,
                "features_sha256": data.manifest.sha256,
                "seed": data.seed,
                "parameters": dict(parameters),
                "metrics": candidate.metrics,
            },
        )
        model_id = tracker.log_candidate(data.contract, folder, digest, candidate.metrics, golden[:EXAMPLE_ROWS])
    return Trial(run_id, model_id, digest, family.name, dict(parameters), candidate.metrics)


def fit_candidate(family: Family, parameters: Mapping[str, Any], data: TrainingSet, folds: Folds) -> Candidate:
    """Cross-validate and fit on the training rows, calibrate and cut on the validation rows."""
    started = time.perf_counter()
    train, validation, decision = data.parts.train, data.parts.validation, data.contract.decision
    matrix, labels, unseen = data.matrix[train], data.labels[train], data.matrix[validation]
    held_out = family.cross_validate(parameters, matrix, labels, folds, unseen, data.seed)
    model = family.fit(parameters, matrix, labels, held_out.rounds, data.seed)
    fit_seconds = time.perf_counter() - started

    log_odds, truth = model.log_odds(unseen), data.labels[validation]
    calibration = fit_calibration(log_odds, truth)
    probabilities = calibration.probabilities(log_odds)
    threshold = choose_threshold(probabilities, truth, decision)
    judged = {**ranking_metrics(probabilities, truth), **decision_metrics(probabilities, truth, threshold, decision)}
    metrics = {
        "cv_log_loss": log_loss_of_log_odds(held_out.log_odds, labels),
        **{f"validation_{name}": value for name, value in judged.items()},
        "threshold": threshold,
        "rounds": float(held_out.rounds),
        "fit_seconds": fit_seconds,
    }
    reference = make_reference(data, held_out, log_odds, calibration, threshold)
    return Candidate(model, calibration, threshold, reference, metrics)


def make_reference(
    data: TrainingSet,
    held_out: CrossValidated,
    unseen_log_odds: LogOdds,
    calibration: Calibration,
    threshold: float,
) -> pd.DataFrame:
    """Shuffled training rows: features, `churn_probability` from models that had not seen them, `churn`, `churned`.

    A fold's model saw fewer rows than the served one and is less sure of itself, which a watch on thousands of
    scores would notice. Both scored the validation rows, so their difference there is taken out.
    """
    rows = data.parts.train[:REFERENCE_ROWS]
    log_odds = align(held_out.log_odds[: len(rows)], held_out.unseen_log_odds, unseen_log_odds)
    scores = calibration.probabilities(log_odds)
    reference = data.frame.iloc[rows][list(data.contract.feature_names)].reset_index(drop=True)
    return reference.assign(churn_probability=scores, churn=scores >= threshold, churned=data.labels[rows])


def evaluate(bundle: Bundle, data: TrainingSet) -> dict[str, float]:
    """How a bundle does on the rows that nothing was chosen by."""
    rows = data.parts.test
    probabilities, truth = bundle.probabilities(data.matrix[rows]), data.labels[rows]
    return {
        **ranking_metrics(probabilities, truth),
        **decision_metrics(probabilities, truth, bundle.threshold, data.contract.decision),
    }


def _golden(data: TrainingSet) -> list[dict[str, Any]]:
    rows = data.parts.validation[:GOLDEN_ROWS]
    return frame_records(data.frame.iloc[rows], data.contract.feature_names)
