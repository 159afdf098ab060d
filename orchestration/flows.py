"""Prefect's home: `ingest` and `tune` as flows, their steps as tasks. What the steps do stands elsewhere, plain.

A flow's parameters are stored and shown by Prefect, so they hold no address that could carry a password: a flow is
an entry point of its own when a deployment starts it, and reads its settings itself.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE

from churn.contract import Contract, load_contract
from churn.errors import FeatureStoreUnavailable, StoreUnavailable
from churn.feature_store import FeatureStore, Manifest
from churn.pseudonym import key_source, pseudonyms
from churn.registry import Registry
from churn.settings import (
    FeatureStoreSettings,
    ModelSettings,
    PseudonymSettings,
    StoreSettings,
    TrainSettings,
    read,
)
from churn.store import open_store
from orchestration import ingest as ingesting
from orchestration import training
from orchestration.training import TrainingSet, Tuned


def _outage(_task: Any, _run: Any, state: Any) -> bool:
    """Try again only what may heal by itself; a wrong file stays wrong."""
    return isinstance(state.result(raise_on_failure=False), (FeatureStoreUnavailable, StoreUnavailable))


step = task(
    cache_policy=NO_CACHE, retries=1, retry_delay_seconds=2, retry_jitter_factor=0.5, retry_condition_fn=_outage
)


@flow(name="ingest", validate_parameters=False, timeout_seconds=2 * 3_600)
def ingest(file: Path | str, contract: str) -> Manifest:
    """Publish a file as a new version of features, then put its customers into the online view."""
    loaded = load_contract(contract)
    manifest = publish(Path(file), loaded)
    put_customers(loaded, manifest.version)
    return manifest


@flow(name="tune", validate_parameters=False, timeout_seconds=24 * 3_600)
def tune(
    contract: str,
    version: str | None = None,
    trials: int | None = None,
    time_budget_seconds: float | None = None,
    show_progress: bool = True,
) -> Tuned:
    """Tune on a version of features, the newest unless given; the best becomes `challenger`."""
    settings = read(TrainSettings)
    loaded = load_contract(contract)
    data = load_features(loaded, version, settings.seed)
    families = [name.strip() for name in settings.families.split(",")]
    tuned = run_trials(data, trials or settings.trials, settings.folds, time_budget_seconds, show_progress, families)
    create_table_artifact(
        [{"run_id": t.run_id, "family": t.family, **t.metrics} for t in tuned.trials],
        key=f"trials-{re.sub(r'[^a-z0-9]+', '-', loaded.name.lower())}",
        description=f"Trials on {tuned.features_version}, best first; RUN_ID={tuned.best.run_id}",
    )
    return tuned


@step
def publish(file: Path, contract: Contract) -> Manifest:
    maximum_bad_share = read(TrainSettings).maximum_bad_share
    now, token = datetime.now(UTC), secrets.token_hex(4)
    return ingesting.ingest(file, contract, _features(), now, token, maximum_bad_share)


@step
def put_customers(contract: Contract, version: str) -> int:
    settings = read(StoreSettings)
    pseudonym = pseudonyms(contract, key_source(read(PseudonymSettings)))
    store = open_store(settings.store_url, timeout_seconds=settings.store_timeout_seconds)
    try:
        store.check()
        return ingesting.put_customers(contract, version, _features(), store, pseudonym)
    finally:
        store.close()


@step
def load_features(contract: Contract, version: str | None, seed: int) -> TrainingSet:
    return training.load_training_set(contract, _features(), version, seed)


@task(cache_policy=NO_CACHE)
def run_trials(
    data: TrainingSet,
    trials: int,
    folds: int,
    time_budget_seconds: float | None,
    show_progress: bool,
    families: Sequence[str],
) -> Tuned:
    from orchestration.tracking import Tracker  # MLflow takes seconds to import, which an ingest need not pay

    tracker = Tracker(Registry(read(ModelSettings).mlflow_tracking_uri))
    return training.tune(data, tracker, trials, folds, time_budget_seconds, show_progress, families)


def _features() -> FeatureStore:
    return FeatureStore(read(FeatureStoreSettings).feature_bucket)
