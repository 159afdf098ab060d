"""Our tuned, calibrated model beside a plain XGBoost with its defaults: the same features, the same splits.

python -m benchmarks.use_cases credit_card=BankChurners.csv telco=… bank=… retail=online_retail.csv.gz [--seeds 7,1,2]

For each contract and seed: split 60/20/20, tune on train and validation as `make train` does (without MLflow and
Prefect), and judge both on the test rows, which nothing was chosen by. The plain model is fitted on train alone and on
train with validation, since it has no other use for those rows; it gets our encoded columns.

Where customers come out of transactions, the models are also fitted as of a cut-off one horizon earlier and judged on
all customers as of the later one: on what came after all that they had seen.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xgboost

from benchmarks.subject import machine
from churn.contract import Contract, load_contract
from churn.model import Matrix
from churn.settings import TrainSettings, read
from orchestration.cleaning import Cleaner
from orchestration.evaluation import decision_metrics, ranking_metrics
from orchestration.families import make_families
from orchestration.families.family import Labels
from orchestration.outcome import Outcome
from orchestration.search import ranked, search
from orchestration.source import open_source
from orchestration.task_trials import Threads
from orchestration.training import Candidate, TrainingSet, fit_candidate
from orchestration.transactions.kind import is_transactions
from orchestration.transactions.reading import open_ledger
from orchestration.transactions.table import make_tables
from orchestration.validation import find_problems

SHOWN = ("auc", "average_precision", "brier", "log_loss")


def customers(path: Path, contract: Contract, day: date | None = None) -> tuple[pd.DataFrame, date | None]:
    """A file cleaned and validated as an ingest does, without a feature store; and the cut-off, if it has one."""
    if not is_transactions(path, contract):
        return cleaned(path, contract), None
    with tempfile.TemporaryDirectory() as name, open_ledger(path, contract, Path(name), 0.05) as (ledger, lines):
        tables = make_tables(ledger, lines, contract, Path(name), day)
        return cleaned(tables.learn, contract), date.fromisoformat(tables.facts["cut_off"])


def cleaned(path: Path, contract: Contract) -> pd.DataFrame:
    cleaner, parts = Cleaner(contract), []
    with open_source(path, contract) as chunks:
        for chunk in chunks:
            frame, problems, _ = cleaner.clean(chunk.texts)
            bad = problems.keys() | find_problems(frame, contract, lambda _: False).keys()
            parts.append(frame.drop(index=list(bad)))
    return pd.concat(parts, ignore_index=True)


def training_set(frame: pd.DataFrame, contract: Contract, seed: int) -> TrainingSet:
    return TrainingSet(contract, None, frame, seed)  # type: ignore[arg-type]  # no store


def tuned(data: TrainingSet, settings: TrainSettings) -> tuple[str, Candidate]:
    """The best of a search, and its family."""
    families = make_families([name.strip() for name in settings.families.split(",")])
    candidates: dict[int, Candidate] = {}

    def trial(number: int, family: str, parameters: Mapping[str, Any], _: Outcome | None) -> Outcome:
        one = candidates[number] = fit_candidate(families[family], parameters, data)
        return Outcome(number, "finished", family, parameters, one.loss, one.fold_losses)

    with Threads(trial) as pool:
        outcomes = search(pool, list(families.values()), settings.trials, data.seed, show_progress=False)
    best = ranked(outcomes)[0]
    return best.family, candidates[best.number]


def judged(best: Candidate, matrix: Matrix, labels: Labels, contract: Contract) -> dict[str, float]:
    """What our model says of some rows, held against the truth."""
    probabilities = best.calibration.probabilities(best.model.log_odds(matrix))
    decided = decision_metrics(probabilities, labels, best.threshold, contract.decision)
    return ranking_metrics(probabilities, labels) | decided


def plain(data: TrainingSet, rows: Any, matrix: Matrix, labels: Labels) -> dict[str, float]:
    """XGBoost as it comes, fitted on these rows, held against the truth of others."""
    model = xgboost.XGBClassifier(n_jobs=1, random_state=0)
    model.fit(data.matrix[rows], data.labels[rows])
    return ranking_metrics(model.predict_proba(matrix)[:, 1].astype(np.float64), labels)


def cases(name: str, path: Path, seeds: Sequence[int]) -> Iterator[str]:
    """The lines of one use case; of transactions, those of the later cut-off too."""
    contract = load_contract(name)
    frame, day = customers(path, contract)
    yield from figures(name, contract, frame, None, seeds)
    if day is not None and contract.transactions is not None:
        before = day - timedelta(days=contract.transactions.horizon_days)
        earlier, _ = customers(path, contract, before)
        yield from figures(f"{name}, {before} on {day}", contract, earlier, frame, seeds)


def figures(
    name: str, contract: Contract, frame: pd.DataFrame, later: pd.DataFrame | None, seeds: Sequence[int]
) -> Iterator[str]:
    """A line a model, means over the seeds, on test rows or later customers; then how our threshold does."""
    settings = read(TrainSettings)
    ours, small, large, families = [], [], [], []
    for seed in seeds:
        data = training_set(frame, contract, seed)
        parts = data.parts
        unseen = training_set(later, contract, seed) if later is not None else data
        rows = parts.test if later is None else np.arange(len(later))
        matrix, labels = unseen.matrix[rows], unseen.labels[rows]
        family, best = tuned(data, settings)
        families.append(family)
        ours.append(judged(best, matrix, labels, contract))
        small.append(plain(data, parts.train, matrix, labels))
        large.append(plain(data, np.concatenate([parts.train, parts.validation]), matrix, labels))
    lines = {
        f"ours ({', '.join(sorted(set(families)))})": ours,
        "XGBoost, defaults, 60 % of the rows": small,
        "XGBoost, defaults, 80 % of the rows": large,
    }
    for label, each in lines.items():
        means = " | ".join(f"{np.mean([one[metric] for one in each]):.4f}" for metric in SHOWN)
        spread = np.ptp([one["auc"] for one in each])
        yield f"| {name} | {label} | {means} | {spread:.4f} |"
    shares = ("recall", "precision", "contacted_share")
    decided = {key: float(np.mean([one[key] for one in ours])) for key in shares}
    yield f"{name}: {len(frame):,} rows, {np.mean(data.labels):.1%} left, {len(labels):,} judged; {decided}"


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
        for line in cases(name, Path(path), seeds):
            print(line, flush=True)


if __name__ == "__main__":
    main()
