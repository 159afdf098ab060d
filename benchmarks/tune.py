"""Tuning: our search beside Optuna's and beside hyperopt as it comes, what the models reach, and a Dask cluster.

python -m benchmarks.tune [--trials 50] [--data ../shared/data]

Everything runs on this machine: the searches without MLflow and Prefect, the cluster with an S3 emulator, MLflow,
Prefect and worker processes. Figures go to benchmarks/results/tune.json; docs/scaling.md tells them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.machine import facts
from benchmarks.processes import free_port
from benchmarks.tune_models import credit_card_figures, telco_figures
from benchmarks.tune_searches import CONTESTANTS
from benchmarks.use_cases import training_set
from churn.contract import load_contract
from simulation.stage import Stage, StageSettings, environment, start_aws, start_mlflow, start_prefect

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "tune.json"
BANK_CHURNERS, TELCO = "BankChurners.csv", "WA_Fn-UseC_-Telco-Customer-Churn.csv"
CLUSTER_SECONDS = 420


def searches(file: Path, trials: int, only: list[str]) -> dict[str, Any]:
    """Each contestant on the same rows and folds, one after the other, with all cores."""
    told: dict[str, Any] = {}
    for name in only:
        data = training_set(file, load_contract("credit_card"), 7).prepare()
        told[name] = CONTESTANTS[name](data, trials)
        print(f"{name}: {json.dumps(told[name])}", flush=True)
    return told


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
    parser.add_argument("--searches", default=",".join(CONTESTANTS), help="out of these, separated by commas")
    parser.add_argument("--skip", default="", help="parts to leave out: searches, models, cluster")
    options = parser.parse_args()
    skipped = options.skip.split(",")
    results: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    with tempfile.TemporaryDirectory() as folder:
        results["machine"] = facts(Path(folder))
    results["trials"] = options.trials
    if "searches" not in skipped:
        file = options.data / BANK_CHURNERS
        results["searches"] = searches(file, options.trials, options.searches.split(","))
        _keep(results)
    if "models" not in skipped:
        results["credit_card"] = credit_card_figures(options.data / BANK_CHURNERS, options.trials)
        results["telco"] = telco_figures(options.data / TELCO, options.trials)
        _keep(results)
    if "cluster" not in skipped:
        results["cluster"] = cluster(options.data / BANK_CHURNERS, min(options.trials, 30))
        print(f"cluster: {json.dumps(results['cluster'])}", flush=True)
        _keep(results)


def _keep(results: dict[str, Any]) -> None:
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
