"""The application with a small real model, a clock that stands still and a journal that remembers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from prometheus_client import CollectorRegistry

from churn.bundle import Bundle
from churn.errors import JournalFull
from churn.journal import Idempotency
from churn.metrics import AnswerMetrics, ModelMetrics, WebMetrics
from churn.prediction import Prediction, from_json
from churn.serving import ServingModel
from churn.store import open_store
from churn.store.interface import PredictionStore
from tests.fakes import Clock, pseudonym_key, random_customers, records
from web_service.app import Parts, create_app
from web_service.gate import Gate
from web_service.service import PredictionService
from web_service.totals import WorkerTotals


class MemoryJournal:
    """Remembers what was appended; full when told so."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.full = False

    def append(self, payloads: Sequence[bytes], *, keyed: bool = False) -> None:
        if self.full:
            raise JournalFull("the disk is full: nothing was logged; make room")
        self.payloads.extend(payloads)

    @property
    def predictions(self) -> list[Prediction]:
        return [from_json(payload) for payload in self.payloads]


@pytest.fixture
def journal() -> MemoryJournal:
    return MemoryJournal()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def service(
    bundle: Bundle,
    journal: MemoryJournal,
    clock: Clock,
    registry: CollectorRegistry,
    store: PredictionStore,
    tmp_path: Path,
) -> PredictionService:
    model = ServingModel(bundle, "a test asked for it", ModelMetrics(registry), clock, pseudonym_key)
    first_answers = Idempotency(tmp_path / "journal", store.get_many)
    return PredictionService(model, journal, first_answers, AnswerMetrics(registry), list_limit=100)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PredictionStore]:
    store = open_store(f"sqlite:///{tmp_path}/store.db")
    store.check()
    yield store
    store.close()


@pytest.fixture
def make_app(
    service: PredictionService, registry: CollectorRegistry, tmp_path: Path, store: PredictionStore, clock: Clock
) -> Callable[..., Flask]:
    metrics = WebMetrics(registry)

    def make(**parts: Any) -> Flask:
        given: dict[str, Any] = {
            "service": service,
            "gate": Gate(),
            "metrics": metrics,
            "store": store,
            "now": clock,
            "render_metrics": WorkerTotals(registry, tmp_path).render,
            "readiness": lambda: {"ready": True},
            "body_limit": 100_000,
        }
        return create_app(Parts(**{**given, **parts}))

    return make


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app()


@pytest.fixture
def client(app: Flask) -> Any:
    return app.test_client()


@pytest.fixture
def customer(bundle: Bundle) -> dict[str, Any]:
    return records(random_customers(bundle.contract, 1, seed=5), bundle.contract)[0]


@pytest.fixture
def customers(bundle: Bundle) -> list[dict[str, Any]]:
    return records(random_customers(bundle.contract, 20, seed=6), bundle.contract)


@pytest.fixture
def sample(registry: CollectorRegistry, service: PredictionService) -> Callable[..., float | None]:
    """The value of a metric by name and labels."""

    def value(name: str, **labels: str) -> float | None:
        service.tally.flush()
        return registry.get_sample_value(name, labels)

    return value
