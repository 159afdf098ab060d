"""The contestants: our search, Optuna's on the same space, folds and fits, and hyperopt's fmin as it comes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import hyperopt
import numpy as np
import optuna
import xgboost

from churn.calibration import fit_calibration
from orchestration.comparison import base_rate_log_loss
from orchestration.evaluation import log_loss_of_log_odds, ranking_metrics
from orchestration.families import HOMES, make_families
from orchestration.families.family import Dimension
from orchestration.outcome import Outcome
from orchestration.referee import Bar, Pruned, Strict
from orchestration.search import ranked, search, space
from orchestration.task_trials import Threads, default_workers
from orchestration.training import Candidate, TrainingSet, fit_candidate

PLAIN_ROUNDS = 500
SECONDS = 600.0


def ours(data: TrainingSet, trials: int, names: Sequence[str] = tuple(HOMES), prune: bool = True) -> dict[str, Any]:
    """As `orchestration tune` searches on this machine by default, without MLflow."""
    families = make_families(names, threads=1)
    candidates: dict[int, Candidate] = {}
    base = base_rate_log_loss(data.rows.labels)

    def trial(number: int, family: str, parameters: Mapping[str, Any], best: Outcome | None) -> Outcome:
        bar = Bar(best.fold_losses, base) if prune and best and number >= len(families) else None
        try:
            one = candidates[number] = fit_candidate(families[family], parameters, data, Strict(bar, SECONDS))
        except Pruned as pruned:
            return Outcome(number, "pruned", family, parameters, pruned.expected_loss, pruned.fold_losses)
        return Outcome(number, "finished", family, parameters, one.loss, one.fold_losses)

    started = time.perf_counter()
    with Threads(trial, default_workers()) as pool:
        outcomes = search(pool, list(families.values()), trials, data.seed, show_progress=False)
    seconds = time.perf_counter() - started
    best = ranked(outcomes)[0]
    pruned = sum(one.status == "pruned" for one in outcomes)
    return {**_told(data, candidates[best.number], seconds), "family": best.family, "pruned": pruned}


def with_optuna(data: TrainingSet, trials: int, names: Sequence[str] = tuple(HOMES)) -> dict[str, Any]:
    """Its TPE and its median pruner over the same conditional space, a trial a core; our starts are its first too."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    families = make_families(names, threads=1)
    candidates: dict[int, Candidate] = {}

    class Referee:
        def __init__(self, trial: optuna.Trial) -> None:
            self._trial = trial

        def between_rounds(self) -> None:
            """Its pruner is asked after folds, as ours is."""

        def after_folds(self, fold_losses: Sequence[float]) -> None:
            self._trial.report(float(np.mean(fold_losses)), len(fold_losses))
            if self._trial.should_prune():
                raise optuna.TrialPruned

    def objective(trial: optuna.Trial) -> float:
        name = trial.suggest_categorical("family", list(families))
        parameters = {key: _suggest(trial, f"{name}.{key}", d) for key, d in families[name].space.items()}
        candidates[trial.number] = fit_candidate(families[name], parameters, data, Referee(trial))
        return candidates[trial.number].loss

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=data.seed))
    for name, family in families.items():
        study.enqueue_trial({"family": name, **{f"{name}.{key}": value for key, value in family.start.items()}})
    started = time.perf_counter()
    study.optimize(objective, n_trials=trials, n_jobs=os.cpu_count() or 1)
    seconds = time.perf_counter() - started
    pruned = sum(one.state == optuna.trial.TrialState.PRUNED for one in study.trials)
    family = study.best_trial.params["family"]
    return {**_told(data, candidates[study.best_trial.number], seconds), "family": family, "pruned": pruned}


def plain(data: TrainingSet, trials: int) -> dict[str, Any]:
    """fmin over XGBoost's part of the space, five folds of a fixed number of rounds, XGBoost's own threads."""
    (family,) = make_families(["xgboost"]).values()
    rows, settings = data.rows, {"objective": "binary:logistic", "tree_method": "hist", "seed": data.seed}

    def train(parameters: Mapping[str, Any], learned: Any) -> xgboost.Booster:
        matrix = xgboost.DMatrix(rows.matrix[learned], rows.labels[learned])
        return xgboost.train({**settings, **parameters}, matrix, num_boost_round=PLAIN_ROUNDS)

    def objective(point: Mapping[str, Any]) -> float:
        parameters = {key: value for key, value in point.items() if key != "family"}
        log_odds = np.empty(len(rows.matrix))
        for learned, held_out in rows.folds:
            booster = train(parameters, learned)
            log_odds[held_out] = booster.predict(xgboost.DMatrix(rows.matrix[held_out]), output_margin=True)
        return log_loss_of_log_odds(log_odds, rows.labels)

    tried = hyperopt.Trials()
    started = time.perf_counter()
    best = hyperopt.fmin(
        objective,
        space([family]),
        algo=hyperopt.tpe.suggest,
        max_evals=trials,
        trials=tried,
        rstate=np.random.default_rng(data.seed),
        show_progressbar=False,
        verbose=False,
    )
    point = hyperopt.space_eval(space([family]), best)
    booster = train({key: value for key, value in point.items() if key != "family"}, np.arange(len(rows.matrix)))
    seconds = time.perf_counter() - started
    test = data.parts.test
    log_odds = booster.predict(xgboost.DMatrix(data.matrix[test]), output_margin=True).astype(np.float64)
    metrics = ranking_metrics(1.0 / (1.0 + np.exp(-log_odds)), data.labels[test])
    loss = tried.best_trial["result"]["loss"]
    return {"seconds": round(seconds, 1), "cv_log_loss": loss, **_test(metrics), "rounds": PLAIN_ROUNDS}


def _told(data: TrainingSet, best: Candidate, seconds: float) -> dict[str, Any]:
    rows, unseen = data.parts.test, data.parts.validation
    calibration = fit_calibration(best.model.log_odds(data.matrix[unseen]), data.labels[unseen])
    probabilities = calibration.probabilities(best.model.log_odds(data.matrix[rows]))
    metrics = ranking_metrics(probabilities, data.labels[rows])
    return {"seconds": round(seconds, 1), "cv_log_loss": best.loss, **_test(metrics)}


def _test(metrics: Mapping[str, float]) -> dict[str, float]:
    return {f"test_{name}": value for name, value in metrics.items()}


def _suggest(trial: optuna.Trial, name: str, dimension: Dimension) -> float:
    if dimension.kind == "integer":
        return trial.suggest_int(name, int(dimension.low), int(dimension.high))
    return trial.suggest_float(name, dimension.low, dimension.high, log=dimension.kind == "log_uniform")


CONTESTANTS: dict[str, Callable[[TrainingSet, int], dict[str, Any]]] = {
    "ours": ours,
    "ours without pruning": lambda data, trials: ours(data, trials, prune=False),
    "ours with xgboost alone": lambda data, trials: ours(data, trials, ["xgboost"]),
    "optuna": with_optuna,
    "plain": plain,
}
