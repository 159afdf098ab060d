"""Our tuned, calibrated model beside a plain XGBoost with its defaults: the same features, the same splits.

python -m benchmarks.use_cases credit_card=BankChurners.csv telco=… bank=… [--seeds 7,1,2]

For each contract and seed: split 60/20/20, tune on train and validation as `make train` does (without MLflow and
Prefect), and judge both on the test rows, which nothing was chosen by. The plain model is fitted on train alone and on
train with validation, since it has no other use for those rows; it gets our encoded columns.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xgboost

from benchmarks.subject import machine
from churn.contract import Contract, load_contract
from churn.settings import TrainSettings, read
from orchestration.cleaning import Cleaner
from orchestration.evaluation import decision_metrics, ranking_metrics
from orchestration.families import make_families
from orchestration.outcome import Outcome
from orchestration.search import ranked, search
from orchestration.source import open_source
from orchestration.task_trials import Threads
from orchestration.training import Candidate, TrainingSet, fit_candidate
from orchestration.validation import find_problems

SHOWN = ("auc", "average_precision", "brier", "log_loss")


def training_set(path: Path, contract: Contract, seed: int) -> TrainingSet:
    """A file cleaned and validated as an ingest does, without a feature store."""
    cleaner, parts = Cleaner(contract), []
    with open_source(path, contract) as chunks:
        for chunk in chunks:
            frame, problems, _ = cleaner.clean(chunk.texts)
            bad = problems.keys() | find_problems(frame, contract, lambda _: False).keys()
            parts.append(frame.drop(index=list(bad)))
    return TrainingSet(contract, None, pd.concat(parts, ignore_index=True), seed)  # type: ignore[arg-type]  # no store


def tuned(data: TrainingSet, settings: TrainSettings) -> tuple[str, dict[str, float]]:
    """The best of a search: its family, and its metrics on the test rows."""
    families = make_families([name.strip() for name in settings.families.split(",")])
    candidates: dict[int, Candidate] = {}

    def trial(number: int, family: str, parameters: Mapping[str, Any], _: Outcome | None) -> Outcome:
        one = candidates[number] = fit_candidate(families[family], parameters, data)
        return Outcome(number, "finished", family, parameters, one.loss, one.fold_losses)

    with Threads(trial) as pool:
        outcomes = search(pool, list(families.values()), settings.trials, data.seed, show_progress=False)
    family, best = ranked(outcomes)[0].family, candidates[ranked(outcomes)[0].number]
    rows = data.parts.test
    probabilities = best.calibration.probabilities(best.model.log_odds(data.matrix[rows]))
    decided = decision_metrics(probabilities, data.labels[rows], best.threshold, data.contract.decision)
    return family, ranking_metrics(probabilities, data.labels[rows]) | decided


def plain(data: TrainingSet, rows: Any) -> dict[str, float]:
    """XGBoost as it comes, fitted on these rows, on the test rows."""
    model = xgboost.XGBClassifier(n_jobs=1, random_state=0)
    model.fit(data.matrix[rows], data.labels[rows])
    test = data.parts.test
    return ranking_metrics(model.predict_proba(data.matrix[test])[:, 1].astype(np.float64), data.labels[test])


def figures(name: str, path: Path, seeds: list[int]) -> Iterator[str]:
    """A line a model, means over the seeds; then how well our threshold does."""
    settings, contract = read(TrainSettings), load_contract(name)
    ours, small, large, families = [], [], [], []
    for seed in seeds:
        data = training_set(path, contract, seed)
        family, metrics = tuned(data, settings)
        families.append(family)
        ours.append(metrics)
        small.append(plain(data, data.parts.train))
        large.append(plain(data, np.concatenate([data.parts.train, data.parts.validation])))
    labels = {
        f"ours ({', '.join(sorted(set(families)))})": ours,
        "XGBoost, defaults, 60 % of the rows": small,
        "XGBoost, defaults, 80 % of the rows": large,
    }
    for label, each in labels.items():
        means = " | ".join(f"{np.mean([one[metric] for one in each]):.4f}" for metric in SHOWN)
        spread = np.ptp([one["auc"] for one in each])
        yield f"| {name} | {label} | {means} | {spread:.4f} |"
    decided = {key: float(np.mean([one[key] for one in ours])) for key in ("recall", "precision", "contacted_share")}
    yield f"{name}: {len(data.frame):,} rows, {np.mean(data.labels):.1%} left; at our threshold {decided}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.use_cases", description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="+", metavar="CONTRACT=FILE")
    parser.add_argument("--seeds", default="7,1,2", help="splits to average over")
    options = parser.parse_args()
    seeds = [int(seed) for seed in options.seeds.split(",")]
    print(f"{machine()}; means of {len(seeds)} splits (seeds {options.seeds})")
    print("| contract | model | AUC | average precision | Brier | log loss | AUC, max - min |")
    for case in options.cases:
        name, _, path = case.partition("=")
        for line in figures(name, Path(path), seeds):
            print(line, flush=True)


if __name__ == "__main__":
    main()
