"""A real store with traffic in it, a clock that is turned, and a maker that does not wait for Evidently."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from churn.bundle import Bundle
from churn.prediction import Prediction
from churn.scoring import Scorer
from churn.store import open_store
from churn.store.interface import PredictionStore
from reporting.maker import Maker
from reporting.shelf import Shelf
from reporting.window import Window
from tests.fake_evidently import FakeEvidently, Send
from tests.fakes import Clock, random_customers, records

DAY = datetime(2026, 1, 29, tzinfo=UTC)


@pytest.fixture
def day() -> Window:
    """The window that most tests report on; the clock stands two days later."""
    return Window(DAY, DAY + timedelta(days=1))


@pytest.fixture
def clock() -> Clock:
    return Clock(datetime(2026, 1, 31, 12, tzinfo=UTC))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PredictionStore]:
    opened = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    opened.check()
    yield opened
    opened.close()


@pytest.fixture
def send(store: PredictionStore, bundle: Bundle) -> Send:
    """Score seeded customers, spread over a day, and log them: send(rows, seed, start=…, change=…)."""

    def send(
        rows: int,
        seed: int = 1,
        start: datetime = DAY,
        change: Callable[[list[dict[str, Any]]], None] | None = None,
        **fields: Any,
    ) -> list[Prediction]:
        customers = records(random_customers(bundle.contract, rows, seed), bundle.contract)
        if change is not None:
            change(customers)
        step = timedelta(days=1) / rows
        predictions = [
            msgspec.structs.replace(
                prediction,
                created_at=start + index * step,
                route="stream" if index % 4 == 0 else "http",
                **fields,
            )
            for index, prediction in enumerate(Scorer(bundle).score(customers, "http"))
            if isinstance(prediction, Prediction)
        ]
        store.save(predictions)
        return predictions

    return send


@pytest.fixture
def evidently() -> FakeEvidently:
    return FakeEvidently()


@pytest.fixture
def maker(store: PredictionStore, bundle: Bundle, clock: Clock, evidently: FakeEvidently, tmp_path: Path) -> Maker:
    return Maker(store, Shelf(tmp_path / "reports"), lambda run, contract: bundle, clock, second_opinion=evidently)
