"""What is older than its contract's retention is deleted, once an hour, and counted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from churn.contract import Contract
from churn.errors import RegistryUnavailable
from churn.prediction import Label
from monitoring.service import WatchService

DAY_SECONDS = 86_400.0
PURGED = "churnwatch_predictions_purged_total"


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def service(scene: Any, registry: CollectorRegistry, retention_days: int | None = None) -> WatchService:
    watch = scene.watch()
    if retention_days is not None:
        contract: Contract = replace(scene.bundle.contract, retention_days=retention_days)
        watch.contract = lambda name: contract
    return WatchService(watch, registry, 1.0, scene.clock)


def test_predictions_and_labels_leave_when_their_retention_ends(scene: Any, registry: CollectorRegistry) -> None:
    old = scene.send(3)
    scene.store.label([Label(churned=True, observed_at=scene.clock(), prediction_id=one.prediction_id) for one in old])
    scene.clock.advance(scene.bundle.contract.retention_days * DAY_SECONDS)
    scene.send(1)
    watched = service(scene, registry)

    watched.poll()

    assert scene.store.count() == 1
    assert registry.get_sample_value(PURGED, {"contract": "credit_card"}) == 3
    scene.store.save(old)
    assert list(scene.store.labelled("credit_card", None, old[0].created_at, scene.clock())) == []


def test_it_is_looked_for_once_an_hour(scene: Any, registry: CollectorRegistry) -> None:
    scene.send(2, seconds_apart=1.0)
    watched = service(scene, registry, retention_days=30)
    scene.clock.advance(30 * DAY_SECONDS - 1)

    counts = []
    for seconds in (0.0, 3_500.0, 100.0):
        scene.clock.advance(seconds)
        with capture_logs() as logs:
            watched.poll()
        counts.append(
            (scene.store.count(), [one["predictions"] for one in logs if one["event"] == "predictions_purged"])
        )

    assert counts == [(2, [0]), (2, []), (0, [2])]


def test_nothing_is_deleted_while_no_bundle_says_how_long_it_may_stay(scene: Any, registry: CollectorRegistry) -> None:
    scene.send(2)
    scene.failure = RegistryUnavailable("MLflow is away")
    scene.clock.advance(10 * 365 * DAY_SECONDS)

    service(scene, registry).poll()

    assert scene.store.count() == 2


def test_the_newest_run_says_which_contract_is_in_force(scene: Any) -> None:
    scene.send(200)
    scene.send(200, run="b" * 32)
    scene.clock.advance(10)
    watch, loaded = scene.watch(), []
    load = scene.load
    watch._load_reference = lambda contract, run: loaded.append(run) or load(contract, run)
    watch.remember()
    scene.watch().poll()
    watch.runs.clear()
    watch.remember()

    assert watch.contract("credit_card") == scene.bundle.contract
    assert loaded == ["b" * 32]
    assert watch.contract("unheard_of") is None
