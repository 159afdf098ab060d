"""What the watch costs: counting a prediction, a verdict, a look at features together, and judging a whole log.
`make bench-drift` ends with it.

python -m benchmarks.watch_cost [ROWS]
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from benchmarks.subject import RUN_ID, bundle, machine, records
from churn.bundle import load_bundle
from churn.drift import judge
from churn.prediction import Prediction, as_asked
from churn.scoring import Scorer
from churn.store import open_store
from monitoring.reference import open_reference
from monitoring.watch import Watch, WatchRules
from monitoring.windows import CountWindows, TimeWindows, WindowRule

CUSTOMERS = 20_000
BATCH = 1_000
ROUNDS = 20
START = datetime(2026, 1, 31, tzinfo=UTC)


def main(rows: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        served = bundle(folder / "bundle")
        scorer = Scorer(served)
        scored = [p for p in scorer.score(records("credit_card", CUSTOMERS, 31), "http") if isinstance(p, Prediction)]
        print(machine())
        count(folder, scored)
        look_together(folder, scored)
        fill(folder, scored, rows)
        for rule in ("time", "count"):
            command = [sys.executable, "-m", "benchmarks.watch_cost", rule, name, str(rows)]
            subprocess.run(command, check=True)


def count(folder: Path, scored: list[Prediction]) -> None:
    """CPU of counting a prediction, in batches as the watch reads them, and of a verdict."""
    profile = open_reference(load_bundle(folder / "bundle")).profile
    window, began = profile.empty(), time.process_time()
    for first in range(0, len(scored), BATCH):
        window.update(scored[first : first + BATCH])
    counted, began = time.process_time() - began, time.process_time()
    for _ in range(ROUNDS):
        judge(profile, window)
    judged = (time.process_time() - began) / ROUNDS
    columns = len(profile.layout)
    print(f"counting: {counted / len(scored) * 1e6:.1f} us of CPU a prediction of {columns} columns")
    print(f"verdict: {judged * 1e3:.1f} ms of CPU over {columns} columns")


def look_together(folder: Path, scored: list[Prediction]) -> None:
    """CPU and memory of the hourly look at features together: what a run costs once, and as many rows as it takes."""
    reference = open_reference(load_bundle(folder / "bundle"))
    before, began = peak_mb(), time.process_time()
    joint = reference.joint
    learnt, began = time.process_time() - began, time.process_time()
    encoder = reference.encoder
    if joint is None or encoder is None:
        raise SystemExit("the bundle holds no reference")
    verdict = joint.find_drift(encoder.matrix([encoder.clean(as_asked(prediction)) for prediction in scored]))
    looked = time.process_time() - began
    print(
        f"features together: learnt in {learnt:.1f} s of CPU, once a run; {verdict.rows:,} rows looked at in "
        f"{looked:.1f} s of CPU; {peak_mb() - before:.0f} MB more than before"
    )


def peak_mb() -> float:
    """The most memory that this process has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def fill(folder: Path, scored: list[Prediction], rows: int) -> None:
    """Log so many predictions over two hours, less a second."""
    store = open_store(f"sqlite:///{folder / 'store.db'}", timeout_seconds=60)
    store.check()
    apart = timedelta(hours=2) / rows
    for first in range(0, rows, BATCH):
        store.save(list(_copies(scored, first, min(rows, first + BATCH), apart)))
    store.close()


def watch(rule_name: str, folder: Path, rows: int) -> None:
    """Judge the whole log in this process; seconds and peak memory, reading it from the store included."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    store = open_store(f"sqlite:///{folder / 'store.db'}", timeout_seconds=60)
    rule: WindowRule = TimeWindows(3_600.0, 5.0) if rule_name == "time" else CountWindows(rows // 20, 5.0)
    reference = open_reference(load_bundle(folder / "bundle"))
    rules = WatchRules(stale_seconds=1e9)
    began, cpu = time.perf_counter(), time.process_time()
    judged = Watch(store, rule, rules, lambda *_: reference, lambda: START + timedelta(hours=3)).poll()
    seconds = time.perf_counter() - began
    total = sum(window.verdict.rows for window in judged)
    took = f"{seconds:.1f} s ({time.process_time() - cpu:.1f} s of CPU) and {peak_mb():.0f} MB"
    print(f"log: {total:,} predictions in {len(judged)} windows by {rule_name} judged in {took}")


def _copies(scored: list[Prediction], first: int, last: int, apart: timedelta) -> Iterator[Prediction]:
    for number in range(first, last):
        source = scored[number % len(scored)]
        fields = {name: getattr(source, name) for name in source.__struct_fields__}
        own = {"prediction_id": f"{number:032d}", "created_at": START + number * apart, "model_run_id": RUN_ID}
        yield Prediction(**fields | own)


if __name__ == "__main__":
    if len(sys.argv) == 4:
        watch(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
