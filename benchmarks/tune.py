"""Tuning: our search beside Optuna's and hyperopt as it comes, what models reach, a Dask cluster, a promotion's replay.

python -m benchmarks.tune [--trials 50] [--data ../shared/data]

Everything runs on this machine: the searches without MLflow and Prefect, the cluster with an S3 emulator, MLflow,
Prefect and worker processes, the replay with a store in SQLite. Figures go to benchmarks/results/tune.json, each part
with the machine as it was then; what is skipped stays as it was. docs/scaling.md tells them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.machine import facts
from benchmarks.processes import free_port
from benchmarks.tune_models import credit_card_figures, telco_figures
from benchmarks.tune_searches import CONTESTANTS
from benchmarks.use_cases import cleaned, training_set
from churn.contract import load_contract
from simulation.stage import Stage, StageSettings, environment, start_aws, start_mlflow, start_prefect

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "tune.json"
BANK_CHURNERS, TELCO = "BankChurners.csv", "WA_Fn-UseC_-Telco-Customer-Churn.csv"
ROUNDS = 3
CLUSTER_SECONDS = 900
REPLAYED = 50_000
PARTS = ("searches", "models", "cluster", "replay")


def contest(file: Path, trials: int) -> dict[str, Any]:
    """All contestants by turns, on the same rows and folds, with all cores. Seconds are the median of the rounds; the
    rest is of the last one: ours and the plain way give the same each time, Optuna's with a trial a core does not."""
    contract = load_contract("credit_card")
    data = training_set(cleaned(file, contract), contract, 7).prepare()
    seconds: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    told: dict[str, dict[str, Any]] = {}
    for _ in range(ROUNDS):
        for name, contestant in CONTESTANTS.items():
            told[name] = contestant(data, trials)
            seconds[name].append(told[name]["seconds"])
            print(f"  {name}: {json.dumps(told[name])}", file=sys.stderr, flush=True)
    return {
        name: {**told[name], "seconds": statistics.median(seconds[name]), "rounds_seconds": seconds[name]}
        for name in CONTESTANTS
    }


def cluster(file: Path, trials: int) -> dict[str, Any]:
    """One and four Dask workers, and workers killed, in a process with the environment of the servers."""
    with tempfile.TemporaryDirectory() as folder:
        ports = StageSettings(aws_port=free_port(), mlflow_port=free_port(), prefect_port=free_port())
        variables = environment(Path(folder), ports, "credit_card")
        with Stage(Path(folder), {**os.environ, **variables}) as stage:
            aws, mlflow, prefect = start_aws(stage, ports), start_mlflow(stage, ports), start_prefect(stage, ports)
            stage.wait_ready(aws, f"http://127.0.0.1:{ports.aws_port}/_ministack/health")
            stage.wait_ready(
                mlflow, f"http://127.0.0.1:{ports.mlflow_port}/api/2.0/mlflow/experiments/get?experiment_id=0"
            )
            stage.wait_ready(prefect, f"http://127.0.0.1:{ports.prefect_port}/api/health")
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.tune_cluster", str(file), str(trials)],
                env=stage.environment,
                cwd=ROOT,
                check=True,
                stdout=subprocess.PIPE,
                text=True,
                timeout=CLUSTER_SECONDS,
            )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tune", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="the published files")
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--skip", default="", help=f"parts to leave out: {', '.join(PARTS)}")
    options = parser.parse_args()
    skipped = options.skip.split(",")
    bank, telco = options.data / BANK_CHURNERS, options.data / TELCO
    if "searches" not in skipped:
        _keep("searches", options.trials, lambda: contest(bank, options.trials))
    if "models" not in skipped:
        _keep("credit_card", options.trials, lambda: credit_card_figures(bank, options.trials))
        _keep("telco", options.trials, lambda: telco_figures(telco, options.trials))
    if "cluster" not in skipped:
        _keep("cluster", min(options.trials, 30), lambda: cluster(bank, min(options.trials, 30)))
    if "replay" not in skipped:
        _keep("replay", REPLAYED, replay)


def replay() -> dict[str, Any]:
    """In a process of its own, whose peak memory is its own too."""
    command = [sys.executable, "-m", "benchmarks.promotion", str(REPLAYED), "--json"]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True, timeout=CLUSTER_SECONDS)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _keep(part: str, amount: int, measure: Callable[[], Any]) -> None:
    """Measure, and put it beside what other parts have found."""
    with tempfile.TemporaryDirectory() as folder:
        machine = facts(Path(folder))
    told = measure()
    print(f"{part}: {json.dumps(told)}", flush=True)
    results: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    results[part] = {"amount": amount, "machine": machine, "figures": told}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
