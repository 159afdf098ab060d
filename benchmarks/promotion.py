"""Promotion's replay: 50,000 logged and labelled requests through two models. Seconds and peak memory.

python -m benchmarks.promotion [ROWS] [--json]
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.subject import bundle, machine
from churn.bundle import Bundle
from churn.encoder import frame_records
from churn.prediction import Label
from churn.scoring import Scorer
from churn.store import PredictionStore, open_store
from orchestration.gathering import Candidates, gather
from simulation.draw import draw_population
from simulation.population import load_population

TOGETHER = 100


def measure(rows: int) -> dict[str, float]:
    """A process of its own is wanted, since the peak is the process's."""
    with tempfile.TemporaryDirectory() as name:
        folder, now = Path(name), datetime.now(UTC)
        champion, challenger = bundle(folder / "champion", trees=150), bundle(folder / "challenger", trees=300)
        store = open_store(f"sqlite:///{folder / 'store.db'}", timeout_seconds=60)
        store.check()
        fill(store, champion, now - timedelta(hours=1), rows)
        before, began = peak_megabytes(), time.perf_counter()
        evidence = gather(
            Candidates(challenger, champion, champion.run_id),
            champion.contract,
            rows,
            store,
            None,  # type: ignore[arg-type]  # the log suffices, so that no feature store is asked
            lambda: now,
        )
        seconds = time.perf_counter() - began
        store.close()
    return {
        "requests": evidence.requests.rows,
        "labels": evidence.truth.rows,
        "seconds": round(seconds, 1),
        "peak_megabytes": round(peak_megabytes()),
        "peak_megabytes_before": round(before),
    }


def fill(store: PredictionStore, served: Bundle, until: datetime, rows: int) -> None:
    """Log and label so many simulated customers, ten a second."""
    contract = served.contract
    customers = draw_population(load_population(contract), rows, seed=21)
    fields, churned = frame_records(customers, contract.feature_names), customers["churned"].tolist()
    for first in range(0, rows, TOGETHER):
        moment = until - timedelta(seconds=(rows - first) / 10)
        some = slice(first, first + TOGETHER)
        ids = [f"{number:032d}" for number in range(rows)[some]]
        predictions = Scorer(served, lambda moment=moment: moment).score(fields[some], "http", ids)  # type: ignore[misc]
        store.save(predictions)  # type: ignore[arg-type]  # all are valid
        labels = zip(ids, churned[some], strict=True)
        store.label([Label(prediction_id=one, churned=left, observed_at=until) for one, left in labels])


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.promotion", description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="?", type=int, default=50_000)
    parser.add_argument("--json", action="store_true", help="a line for a program")
    options = parser.parse_args()
    told = measure(options.rows)
    if options.json:
        print(json.dumps(told))
        return
    print(
        f"{machine()}: replayed {told['requests']:,} requests and compared on {told['labels']:,} labels in "
        f"{told['seconds']} s; peak memory {told['peak_megabytes']} MB, before it {told['peak_megabytes_before']} MB"
    )


if __name__ == "__main__":
    main()
