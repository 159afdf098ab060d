"""A real small log: predictions of the shared bundle in a SQLite store, and a watch over it whose clock is turned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from prometheus_client import CollectorRegistry

from churn import metrics
from churn.bundle import Bundle
from churn.prediction import Prediction
from churn.scoring import Scorer
from churn.store import PredictionStore, open_store
from monitoring.reference import Reference, open_reference
from monitoring.watch import Watch, WatchRules
from monitoring.windows import CountWindows, WindowRule
from tests.fakes import Clock, random_customers, records

JOURNAL = ("accepted", "stored", "repeated", "waiting", "waiting_bytes", "oldest_seconds")
START = datetime(2026, 1, 31, 12, tzinfo=UTC)


@dataclass
class Scene:
    """Everything a test of the watch turns: the log, the clock, and where references come from."""

    store: PredictionStore
    bundle: Bundle
    reference: Reference
    clock: Clock = field(default_factory=lambda: Clock(START))
    rule: WindowRule = field(default_factory=lambda: CountWindows(200, 5.0))
    rules: WatchRules = field(default_factory=WatchRules)
    failure: Exception | None = None
    sent: int = 0

    def watch(self) -> Watch:
        """A watch as after a restart: all it knows is in the store."""
        return Watch(self.store, self.rule, self.rules, self.load, self.clock)

    def load(self, contract: str, run: str) -> Reference:
        if self.failure is not None:
            raise self.failure
        return self.reference

    def send(
        self,
        rows: int,
        change: Callable[[dict[str, Any]], dict[str, Any]] = dict,
        run: str | None = None,
        route: str = "http",
        seconds_apart: float = 1.0,
    ) -> list[Prediction]:
        """Log so many customers, one a second, drawn from the reference's population; the clock goes along."""
        frame = random_customers(self.bundle.contract, rows, seed=1_001 + self.sent)
        return self.send_frame(frame, change, run, route, seconds_apart)

    def send_frame(
        self,
        frame: pd.DataFrame,
        change: Callable[[dict[str, Any]], dict[str, Any]] = dict,
        run: str | None = None,
        route: str = "http",
        seconds_apart: float = 1.0,
    ) -> list[Prediction]:
        """Log these customers."""
        self.sent += 1
        outcomes = Scorer(self.bundle).score(
            [change(record) for record in records(frame, self.bundle.contract)], "http"
        )
        saved = []
        for index, outcome in enumerate(outcomes):
            assert isinstance(outcome, Prediction), outcome
            self.clock.advance(seconds_apart)
            fields = {name: getattr(outcome, name) for name in outcome.__struct_fields__}
            identity = {
                "prediction_id": f"{self.sent:04d}-{index:05d}",
                "created_at": self.clock(),
                "model_run_id": run or self.bundle.run_id,
                "route": route,
            }
            saved.append(Prediction(**{**fields, **identity}))
        self.store.save(saved)
        return saved


@pytest.fixture(scope="session")
def reference(bundle: Bundle) -> Reference:
    return open_reference(bundle)


@pytest.fixture
def scene(tmp_path: Path, bundle: Bundle, reference: Reference) -> Iterator[Scene]:
    store = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    store.check()
    yield Scene(store, bundle, reference)
    store.close()


def shifted(column: str, by: float) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Move a number up, as a mean shift does."""
    return lambda record: {**record, column: record[column] + by}


def nulls(column: str, share: float) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Lose a share of a column's values."""
    random = np.random.default_rng(5)
    return lambda record: {**record, column: None} if random.random() < share else record


@pytest.fixture
def changes() -> dict[str, Callable[[dict[str, Any]], dict[str, Any]]]:
    """Faults by name, for tests that plant them."""
    return {"shift": shifted("credit_limit", 150.0), "nulls": nulls("total_trans_amt", 0.3)}


@pytest.fixture(scope="session")
def known_metrics() -> set[str]:
    """The name of every series that any room exports."""
    registry = CollectorRegistry()
    for name, group in vars(metrics).items():
        if name.endswith("Metrics"):
            group(registry)
    known = {name for collector in registry._collector_to_names.values() for name in collector}
    known |= {family.name for family in metrics.journal_families(**dict.fromkeys(JOURNAL, 0), rejected={})}
    return known | {f"{name}{suffix}" for name in known for suffix in ("_total", "_bucket")}


@pytest.fixture
def soon() -> timedelta:
    return timedelta(seconds=10)
