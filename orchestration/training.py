"""From a version of features and a point of the search to a candidate: cross-validated, fitted, calibrated, cut.

Plain functions on rows in memory: trials.py runs one wherever it is sent to, tuning.py a whole tuning.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from churn.bundle import Bundle
from churn.calibration import Calibration, fit_calibration
from churn.contract import Contract
from churn.encoder import Encoder
from churn.errors import FeatureStoreError
from churn.feature_store import FeatureStore, Manifest
from churn.model import Matrix, Model
from churn.split import Split, split
from orchestration.evaluation import align, choose_threshold, decision_metrics, log_loss_of_log_odds, ranking_metrics
from orchestration.families.family import CrossValidated, Family, FoldedRows, Labels, LogOdds, make_folds
from orchestration.referee import PATIENT, Referee

TIMED_ROWS = 50
REFERENCE_ROWS = 20_000
"""Most rows kept as a reference; more would make bundles large and judge windows no better."""


@dataclass(frozen=True)
class TrainingSet:
    """A version of features, split and encoded once for all trials."""

    contract: Contract
    manifest: Manifest
    frame: pd.DataFrame
    seed: int
    folds: int = 5

    def prepare(self) -> TrainingSet:
        """Encode and fold now, so that threads that share it find it done."""
        _ = self.rows
        return self

    @cached_property
    def matrix(self) -> Matrix:
        return Encoder(self.contract).encode_frame(self.frame)

    @cached_property
    def labels(self) -> Labels:
        return np.asarray(self.frame["churned"], dtype=bool)

    @cached_property
    def rows(self) -> FoldedRows:
        """The training rows in their folds."""
        labels = self.labels[self.parts.train]
        return FoldedRows(self.matrix[self.parts.train], labels, make_folds(labels, self.folds, self.seed))

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
    fold_losses: tuple[float, ...]

    @property
    def loss(self) -> float:
        """What the search minimises: log loss over the training rows, each scored by the fold that had not seen it."""
        return self.metrics["cv_log_loss"]


def load_training_set(
    contract: Contract, store: FeatureStore, version: str | None, seed: int, folds: int = 5
) -> TrainingSet:
    """Pull a version of features, the newest unless given. Raises FeatureStoreError when the contract has moved on."""
    version = version or store.latest(contract.name)
    manifest = store.manifest(contract.name, version)
    if manifest.contract_sha256 != contract.sha256:
        raise FeatureStoreError(
            f"{store.url(contract.name, version)} was made by contract {manifest.contract_sha256[:12]}, "
            f"contracts/{contract.name}.toml is now {contract.hash}; ingest the file again"
        )
    return TrainingSet(contract, manifest, store.read(contract.name, version), seed, folds)


def fit_candidate(
    family: Family, parameters: Mapping[str, Any], data: TrainingSet, referee: Referee = PATIENT
) -> Candidate:
    """Cross-validate and fit on the training rows, calibrate and cut on the validation rows.

    Raises what the referee raises when it ends the trial.
    """
    started = time.perf_counter()
    validation, decision, rows = data.parts.validation, data.contract.decision, data.rows
    unseen = data.matrix[validation]
    held_out = family.cross_validate(parameters, rows, unseen, data.seed, referee)
    model = family.fit(parameters, rows.matrix, rows.labels, held_out.rounds, data.seed, referee)
    fit_seconds = time.perf_counter() - started

    log_odds, truth = model.log_odds(unseen), data.labels[validation]
    calibration = fit_calibration(log_odds, truth)
    probabilities = calibration.probabilities(log_odds)
    threshold = choose_threshold(probabilities, truth, decision)
    judged = {**ranking_metrics(probabilities, truth), **decision_metrics(probabilities, truth, threshold, decision)}
    metrics = {
        "cv_log_loss": log_loss_of_log_odds(held_out.log_odds, rows.labels),
        **{f"validation_{name}": value for name, value in judged.items()},
        "threshold": threshold,
        "rounds": float(held_out.rounds),
        "fit_seconds": fit_seconds,
        "prediction_microseconds": _prediction_microseconds(model, unseen),
    }
    reference = make_reference(data, held_out, log_odds, calibration, threshold)
    return Candidate(model, calibration, threshold, reference, metrics, held_out.fold_losses)


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


def _prediction_microseconds(model: Model, matrix: Matrix) -> float:
    """The median time of one row alone."""
    seconds = []
    for row in range(min(TIMED_ROWS, len(matrix))):
        started = time.perf_counter()
        model.log_odds(matrix[row : row + 1])
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds)) * 1e6
