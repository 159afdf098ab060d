"""One trial wherever it is sent to: a thread here, or a worker of a cluster that gets names and numbers, never rows."""

from __future__ import annotations

import errno
import functools
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from churn.bundle import save_bundle
from churn.contract import parse_contract
from churn.encoder import frame_records
from churn.errors import FeatureStoreUnavailable, FolderUnusable, RegistryUnavailable
from churn.feature_store import FeatureStore
from churn.histogram import make_profile
from churn.registry import Registry
from orchestration.comparison import base_rate_log_loss
from orchestration.cores import one_core
from orchestration.families import make_families
from orchestration.families.family import Family
from orchestration.outcome import Outcome, Trial
from orchestration.referee import Bar, Pruned, Strict, TrialTimedOut
from orchestration.training import Candidate, TrainingSet, fit_candidate, load_training_set

if TYPE_CHECKING:
    from orchestration.tracking import Tracker

GOLDEN_ROWS = 50
EXAMPLE_ROWS = 2
ENDS = (RegistryUnavailable, FeatureStoreUnavailable, FolderUnusable)
"""What ends a tuning, since every further trial would fail alike. All else is one trial's own failure."""
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class DataSpec:
    """Which rows, split and folded how: a few hundred bytes that lead to the same rows on every machine."""

    bucket: str
    contract_text: str
    contract_source: str
    version: str
    seed: int
    folds: int


@dataclass(frozen=True, slots=True)
class Assignment:
    """What all trials of a tuning share. `threads` folds are fitted side by side; the first `starts` are not pruned."""

    data: DataSpec
    tracking_uri: str
    parent_run_id: str
    threads: int
    starts: int
    prune: bool
    timeout_seconds: float
    outage_seconds: float


@dataclass(frozen=True)
class Work:
    """The same with everything at hand."""

    data: TrainingSet
    tracker: Tracker
    parent_run_id: str
    families: Mapping[str, Family]
    starts: int = 0
    prune: bool = True
    timeout_seconds: float = 600.0


def run_assigned(
    assignment: Assignment, number: int, family: str, parameters: Mapping[str, Any], best: Outcome | None
) -> Outcome:
    """Fetch the rows, once a process, and run a trial on them. Raises one of ENDS."""
    work = Work(
        data=load(assignment.data),
        tracker=_tracker(assignment.tracking_uri, assignment.outage_seconds),
        parent_run_id=assignment.parent_run_id,
        families=make_families([family], assignment.threads),
        starts=assignment.starts,
        prune=assignment.prune,
        timeout_seconds=assignment.timeout_seconds,
    )
    return run_trial(work, number, family, parameters, best)


def load(spec: DataSpec) -> TrainingSet:
    """The rows of a spec, encoded and folded; kept for the next trial. Safe to call from several threads."""
    with _LOADING:
        return _load(spec)


def run_trial(
    work: Work, number: int, family: str, parameters: Mapping[str, Any], best: Outcome | None = None
) -> Outcome:
    """Make a candidate and log it as a nested run; or end the run saying why there is none. Raises one of ENDS."""
    run_id = work.tracker.begin(work.parent_run_id, number, family, parameters)

    def ended(status: Any, reason: str = "", **known: Any) -> Outcome:
        outcome = Outcome(number, status, family, dict(parameters), reason=reason, **known)
        work.tracker.end(run_id, outcome)
        return outcome

    try:
        with one_core(work.parent_run_id, work.timeout_seconds):
            referee = Strict(_bar(work, number, best), work.timeout_seconds)
            fit = functools.partial(fit_candidate, work.families[family], parameters, work.data, referee)
            candidate = within(work.timeout_seconds, fit)
        if not np.isfinite(candidate.loss):
            raise ValueError(f"its loss is {candidate.loss}")
        trial = _log(work, run_id, family, parameters, candidate)
    except Pruned as pruned:
        return ended("pruned", str(pruned), loss=pruned.expected_loss, fold_losses=pruned.fold_losses)
    except ENDS:
        raise
    except Exception as error:  # a family's library may raise anything, and one trial must not end the search
        _raise_if_disk_is_full(error)
        return ended("failed", f"{type(error).__name__}: {error}")
    return ended("finished", loss=candidate.loss, fold_losses=candidate.fold_losses, trial=trial)


def within(seconds: float, call: Callable[[], Answer]) -> Answer:
    """The call's answer, or TrialTimedOut. A call that hangs in a library cannot be stopped: it is left alone, in a
    thread that does not hold up the end of the process."""
    answers: list[Answer] = []
    errors: list[BaseException] = []

    def answer() -> None:
        try:
            answers.append(call())
        except BaseException as error:  # whatever it is, it belongs to the caller's thread
            errors.append(error)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not answers:
        raise TrialTimedOut(seconds)
    return answers[0]


def _bar(work: Work, number: int, best: Outcome | None) -> Bar | None:
    """None for each family's start: a comparison wants one whole candidate of each."""
    if not work.prune or best is None or number < work.starts:
        return None
    return Bar(best.fold_losses, base_rate_log_loss(work.data.rows.labels))


def _log(work: Work, run_id: str, family: str, parameters: Mapping[str, Any], candidate: Candidate) -> Trial:
    data = work.data
    golden = frame_records(data.frame.iloc[data.parts.validation[:GOLDEN_ROWS]], data.contract.feature_names)
    with tempfile.TemporaryDirectory() as temporary:
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
        size = (folder / candidate.model.file_name).stat().st_size
        metrics = {**candidate.metrics, "model_bytes": float(size)}
        model_id = work.tracker.log_candidate(run_id, data.contract, folder, digest, metrics, golden[:EXAMPLE_ROWS])
    return Trial(run_id, model_id, digest, family, dict(parameters), metrics)


def _raise_if_disk_is_full(error: Exception) -> None:
    """No later trial could be written either."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        raise FolderUnusable(Path(tempfile.gettempdir()), error) from error


@functools.lru_cache(maxsize=1)
def _load(spec: DataSpec) -> TrainingSet:
    contract = parse_contract(spec.contract_text, spec.contract_source)
    return load_training_set(contract, FeatureStore(spec.bucket), spec.version, spec.seed, spec.folds).prepare()


@functools.lru_cache(maxsize=1)
def _tracker(tracking_uri: str, outage_seconds: float) -> Tracker:
    from orchestration.tracking import Tracker  # MLflow takes seconds to import, which an ingest need not pay

    return Tracker(Registry(tracking_uri), outage_seconds)


_LOADING = threading.Lock()
