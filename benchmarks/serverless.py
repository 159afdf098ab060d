"""The artifact under the standard library: cold start, one prediction, memory; each a process of its own.

python -m benchmarks.serverless
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import facts
from benchmarks.subject import DEPTH, TREES, bundle, records
from churn.artifact import make_artifact
from churn.bundle import Bundle
from orchestration.families import HOMES, make_families
from simulation.draw import draw_population
from simulation.population import load_population

ROOT = Path(__file__).resolve().parents[1]
RESULT = Path(__file__).resolve().parent / "results" / "serverless.json"
RUNS, CALLS = 9, 3_000
COLD_MILLISECONDS, MEMORY_MB = 300.0, 128.0
ONE_MILLISECONDS = {"linear": 1.0, "trees": 3.0}
# Peak memory is read before the records: they are the caller's, not the function's. Nothing but the standard library
# can be imported: -I and -S leave out site-packages and the environment.
PROCESS = """
import sys, time
began = time.perf_counter()
sys.path.insert(0, sys.argv[1])
from serverless.score import Artifact
artifact = Artifact(open(sys.argv[2], "rb").read())
cold = time.perf_counter() - began
import json
records = json.load(sys.stdin)
calls = int(sys.argv[3])
seconds = []
for number in range(calls):
    record = records[number % len(records)]
    started = time.perf_counter()
    artifact.answer(record)
    seconds.append(time.perf_counter() - started)
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]
assert not [path for path in sys.path if "site-packages" in path]
print(json.dumps({"cold": cold, "seconds": seconds, "peak_kb": int(peak)}))
"""
BOTO = """
import time
began = time.perf_counter()
import boto3
for service in ("s3", "kinesis"):
    boto3.client(service, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
print(time.perf_counter() - began)
"""


def measure(artifact: Path, customers: list[dict[str, Any]], runs: int = RUNS, calls: int = CALLS) -> dict[str, float]:
    """Medians over whole processes, and the worst cold start. `process` is from the fork to the end, with one call."""
    command = [sys.executable, "-I", "-S", "-c", PROCESS, str(ROOT), str(artifact)]
    told = [json.loads(_output([*command, str(calls)], json.dumps(customers))) for _ in range(runs)]
    wholes = [_timed(lambda: _output([*command, "1"], json.dumps(customers[:1]))) for _ in range(runs)]
    seconds = np.array([one["seconds"] for one in told])
    return {
        "cold_ms": round(statistics.median(one["cold"] for one in told) * 1e3, 1),
        "cold_worst_ms": round(max(one["cold"] for one in told) * 1e3, 1),
        "cold_best_ms": round(min(one["cold"] for one in told) * 1e3, 1),
        "process_ms": round(statistics.median(wholes) * 1e3, 1),
        "one_ms": round(float(np.median(seconds)) * 1e3, 3),
        "one_best_run_ms": round(float(np.median(seconds, axis=1).min()) * 1e3, 3),
        "one_p99_ms": round(float(np.quantile(seconds, 0.99)) * 1e3, 3),
        "memory_mb": round(max(one["peak_kb"] for one in told) / 1024, 1),
        "artifact_kb": round(artifact.stat().st_size / 1e3, 1),
    }


def subjects(folder: Path) -> dict[str, Bundle]:
    """A bundle a family, of real fits on the same simulated customers: 300 trees of depth 6 where there are trees."""
    boosted = bundle(folder / "xgboost")
    contract = boosted.contract
    customers = draw_population(load_population(contract), 6_000, seed=11)
    matrix, labels = boosted.encoder.encode_frame(customers), customers["churned"].to_numpy(dtype=bool)
    found = {f"xgboost, {TREES} trees of depth {DEPTH}": boosted}
    for name, family in make_families([name for name in HOMES if name != "xgboost"]).items():
        model = family.fit(family.start, matrix, labels, TREES, 1)
        found[name] = replace(boosted, model=model)
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        customers = records("credit_card", 200, seed=5)
        told: dict[str, Any] = {"machine": facts(folder), "runs": RUNS, "calls": CALLS, "families": {}}
        for name, one in subjects(folder).items():
            path = folder / "model.json"
            path.write_bytes(make_artifact(one))
            model = json.loads(path.read_bytes())["model"]
            found = measure(path, customers)
            told["families"][name] = {"kind": model["kind"], "trees": len(model.get("roots", ())), **found}
            print(f"{name:>32}: " + ", ".join(f"{key} {value}" for key, value in found.items()), flush=True)
        told["boto3_ms"] = round(
            statistics.median(float(_output([sys.executable, "-c", BOTO])) for _ in range(5)) * 1e3, 1
        )
        print(
            f"{'boto3, import and two clients':>32}: {told['boto3_ms']} ms (a function that reaches AWS pays it once)"
        )
    told["reached"] = reached(told["families"])
    RESULT.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print(f"{RESULT.relative_to(ROOT)}: {'all goals reached' if all(told['reached'].values()) else told['reached']}")


def reached(families: dict[str, dict[str, Any]]) -> dict[str, bool]:
    """The goals, by medians."""
    all_of = families.values()
    return {
        f"cold start under {COLD_MILLISECONDS:.0f} ms": all(f["cold_ms"] < COLD_MILLISECONDS for f in all_of),
        "one prediction under 1 ms (linear), 3 ms (trees)": all(
            f["one_ms"] < ONE_MILLISECONDS[f["kind"]] for f in all_of
        ),
        f"memory under {MEMORY_MB:.0f} MB": all(f["memory_mb"] < MEMORY_MB for f in all_of),
    }


def _output(command: list[str], text: str = "") -> str:
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout


def _timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
