"""A whole tuning: search, evidence, and the best registered. Where the trials run is the caller's choice."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestration.charts import draw_charts
from orchestration.comparison_page import comparison_page, trials_table
from orchestration.contenders import contender
from orchestration.data_report import data_report
from orchestration.families import HOMES, make_families
from orchestration.families.family import Family
from orchestration.outcome import Outcome, Trial
from orchestration.search import SearchFailed, ranked, search, space_sha256
from orchestration.task_trials import Pool, Threads
from orchestration.training import TrainingSet, evaluate
from orchestration.trials import Work, run_trial
from orchestration.tunings import Interrupted, NothingToResume

if TYPE_CHECKING:
    from orchestration.tracking import Tracker

OpenPool = Callable[[str], AbstractContextManager[Pool]]
"""Given the parent run's id."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a tuning is asked for. Without `charts` its page has the table alone."""

    trials: int
    families: tuple[str, ...] = tuple(HOMES)
    time_budget_seconds: float | None = None
    show_progress: bool = True
    charts: bool = True


@dataclass(frozen=True)
class Tuned:
    """What a tuning found. `trials` are the finished, best first; `test` holds the best one's metrics on rows that
    nothing was chosen by."""

    parent_run_id: str
    best: Trial
    trials: tuple[Trial, ...]
    pruned: int
    failed: int
    model_version: int
    features_version: str
    test: Mapping[str, float]


def tune(
    data: TrainingSet, tracker: Tracker, plan: Plan, open_pool: OpenPool, resumed: Interrupted | None = None
) -> Tuned:
    """Search, log every candidate, register the best as `challenger`.

    Raises SearchFailed, or RegistryUnavailable when MLflow is gone for too long: the tuning can then be resumed.
    """
    families = list(make_families(plan.families).values())
    facts = facts_of(data, plan, families)
    if resumed is not None and resumed.space_sha256 != facts["space_sha256"]:
        raise NothingToResume(f"the space searched by tuning {resumed.run_id} has changed since; begin another")
    with tracker.tuning(data.contract, facts, resumed.run_id if resumed else None) as parent_run_id:
        if segments := _segments(data.manifest.validation):
            tracker.measured(parent_run_id, segments)
        known = tracker.outcomes(parent_run_id) if resumed else []
        with open_pool(parent_run_id) as pool:
            outcomes = search(
                pool, families, plan.trials, data.seed, plan.time_budget_seconds, plan.show_progress, known
            )
        tracker.outcomes(parent_run_id)  # closes what killed workers left open
        return _finish(data, tracker, parent_run_id, outcomes, plan.charts)


def in_threads(data: TrainingSet, tracker: Tracker, families: tuple[str, ...], workers: int = 1) -> OpenPool:
    """Trials in plain threads of this process, for callers that do without Prefect."""

    def open_pool(parent_run_id: str) -> Threads:
        made = make_families(families)
        starts = sum(bool(family.start) for family in made.values())
        work = Work(data.prepare(), tracker, parent_run_id, made, starts)

        def run(number: int, family: str, parameters: Mapping[str, Any], best: Outcome | None) -> Outcome:
            return run_trial(work, number, family, parameters, best)

        return Threads(run, workers)

    return open_pool


def facts_of(data: TrainingSet, plan: Plan, families: list[Family]) -> dict[str, Any]:
    return {
        "features_version": data.manifest.version,
        "features_sha256": data.manifest.sha256,
        "seed": data.seed,
        "folds": data.folds,
        "trials": plan.trials,
        "families": ",".join(family.name for family in families),
        "space_sha256": space_sha256(families),
    }


def _segments(validation: Mapping[str, Any]) -> dict[str, float]:
    """How well the customers' segments are told apart, where the features hold any: by each number that was tried."""
    segments = validation.get("transactions", {}).get("segments")
    if segments is None:
        return {}
    tried = {f"segments_silhouette_{count}": score for count, score in segments["silhouettes"].items()}
    return {"segments": segments["count"], "segments_silhouette": segments["silhouette"], **tried}


def _finish(data: TrainingSet, tracker: Tracker, parent_run_id: str, outcomes: list[Outcome], charts: bool) -> Tuned:
    finished = [one.trial for one in ranked(outcomes) if one.trial is not None]
    if not finished:
        raise SearchFailed("no trial left a candidate")
    best = finished[0]
    with tempfile.TemporaryDirectory() as folder:
        test = _compare(data, tracker, parent_run_id, outcomes, Path(folder), charts)
    version = tracker.register(parent_run_id, data.contract, best, test)
    statuses = [one.status for one in outcomes]
    return Tuned(
        parent_run_id=parent_run_id,
        best=best,
        trials=tuple(finished),
        pruned=statuses.count("pruned"),
        failed=statuses.count("failed"),
        model_version=version,
        features_version=data.manifest.version,
        test=test,
    )


def _compare(
    data: TrainingSet, tracker: Tracker, parent_run_id: str, outcomes: list[Outcome], folder: Path, charts: bool
) -> dict[str, float]:
    """Log how the candidates stand beside one another; returns the best one's metrics on the test rows."""
    best_of_family: dict[str, Trial] = {}
    for one in ranked(outcomes):
        if one.trial is not None:
            best_of_family.setdefault(one.family, one.trial)
    bundles = []
    for family, trial in best_of_family.items():
        (folder / family).mkdir()
        bundles.append(tracker.fetch(trial.run_id, data.contract.name, folder / family))
    test = evaluate(bundles[0], data)
    pages = folder / "logged" / "comparison"
    pages.mkdir(parents=True)
    drawn = draw_charts(pages, [contender(bundle, data) for bundle in bundles], data) if charts else []
    (pages / "candidates.html").write_text(comparison_page(data, outcomes, test, drawn), encoding="utf-8")
    (pages / "data.html").write_text(data_report(data), encoding="utf-8")
    tracker.log_files(parent_run_id, folder / "logged")
    tracker.log_table(parent_run_id, trials_table(outcomes), "trials.json")
    return test
