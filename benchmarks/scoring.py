"""One prediction through churn.scoring: clean, encode, score, calibrate. No network, no journal; one thread.

python -m benchmarks.scoring
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.subject import DEPTH, TREES, bundle, machine, percentiles, records
from churn.scoring import Scorer

ROUNDS = 5_000


def measure(step: Callable[[int], object]) -> dict[str, float]:
    """Percentiles over ROUNDS calls, after a warm-up."""
    seconds = []
    for index in range(ROUNDS + 200):
        started = time.perf_counter()
        step(index)
        seconds.append(time.perf_counter() - started)
    return percentiles(seconds[200:])


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        scorer = Scorer(bundle(Path(folder) / "bundle"))
        customers = records("credit_card", 1_000, seed=5)
        rows = [scorer.encoder.matrix([scorer.encoder.clean(customer)]) for customer in customers]
        steps: dict[str, Callable[[int], object]] = {
            "clean and encode": lambda i: scorer.encoder.matrix([scorer.encoder.clean(customers[i % 1_000])]),
            "score and calibrate": lambda i: scorer.bundle.probabilities(rows[i % 1_000]),
            "one prediction, all": lambda i: scorer.score_one(customers[i % 1_000], "http"),
        }
        print(f"{machine()}; {TREES} trees of depth {DEPTH}, {len(customers[0])} fields, {ROUNDS} calls, one thread")
        for name, step in steps.items():
            print(f"{name:>20}: " + ", ".join(f"{key} {value:.1f}" for key, value in measure(step).items()))


if __name__ == "__main__":
    main()
