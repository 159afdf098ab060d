"""Prefect's home: `ingest` and `tune` as flows, their steps as tasks. What the steps do stands elsewhere, plain.

Its second home is runners.py, which hands trials to task runners.

A flow's parameters are stored and shown by Prefect, so they hold no address that could carry a password: a flow is
an entry point of its own when a deployment starts it, and reads its settings itself.
"""

from __future__ import annotations

import secrets
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from churn.contract import Contract, load_contract
from churn.errors import FeatureStoreUnavailable, StoreUnavailable
from churn.feature_store import FeatureStore, Manifest
from churn.registry import Registry
from churn.settings import (
    FeatureStoreSettings,
    ModelSettings,
    TrainSettings,
    read,
)
from churn.store.interface import Saved
from orchestration import ingest as ingesting
from orchestration.artifacts import show_tuning
from orchestration.online import online
from orchestration.runners import open_runner
from orchestration.task_trials import Pool
from orchestration.training import TrainingSet
from orchestration.transactions.kind import is_transactions
from orchestration.transactions.loading import load as load_transactions
from orchestration.trials import Assignment, DataSpec, load
from orchestration.tuning import Plan, Tuned
from orchestration.tuning import tune as tune_with
from orchestration.tunings import Interrupted

if TYPE_CHECKING:
    from orchestration.tracking import Tracker


def _outage(_task: Any, _run: Any, state: Any) -> bool:
    """Try again only what may heal by itself; a wrong file stays wrong."""
    return isinstance(state.result(raise_on_failure=False), (FeatureStoreUnavailable, StoreUnavailable))


step = task(
    cache_policy=NO_CACHE, retries=1, retry_delay_seconds=2, retry_jitter_factor=0.5, retry_condition_fn=_outage
)


@flow(name="ingest", flow_run_name="ingest {contract}", validate_parameters=False, timeout_seconds=2 * 3_600)
def ingest(file: Path | str | None, contract: str, cut_off: date | None = None) -> Manifest:
    """Publish a file as a new version of features, then put its customers, and its transactions if it holds any, into
    the store. Of transactions, customers are as of `cut_off`. Without a file: all transactions in the store."""
    loaded = load_contract(contract)
    manifest = publish(None if file is None else Path(file), loaded, cut_off)
    put_customers(loaded, manifest.version)
    if file is not None and is_transactions(Path(file), loaded):
        put_transactions(Path(file), loaded)
    return manifest


@flow(name="tune", flow_run_name="tune {contract}", validate_parameters=False, timeout_seconds=24 * 3_600)
def tune(
    contract: str,
    version: str | None = None,
    trials: int | None = None,
    time_budget_seconds: float | None = None,
    show_progress: bool = True,
    resume: str | None = None,
) -> Tuned:
    """Tune on a version of features, the newest unless given; the best becomes `challenger`.

    `resume` goes on with an interrupted tuning: the run id of its parent, or `latest`.
    """
    settings = read(TrainSettings)
    loaded = load_contract(contract)
    resumed = find_interrupted(loaded, resume) if resume else None
    if resumed is None:
        data = load_features(loaded, version, settings.seed, settings.folds)
        families = tuple(name.strip() for name in settings.families.split(","))
    else:
        data = load_features(loaded, resumed.features_version, resumed.seed, resumed.folds)
        families, trials = resumed.families, trials or resumed.trials
    plan = Plan(trials or settings.trials, families, time_budget_seconds, show_progress)
    tuned = run_trials(data, plan, resumed)
    show_tuning(loaded.name, tuned, read(ModelSettings).mlflow_tracking_uri)
    return tuned


@step
def publish(file: Path | None, contract: Contract, cut_off: date | None = None) -> Manifest:
    maximum_bad_share = read(TrainSettings).maximum_bad_share
    now, token = datetime.now(UTC), secrets.token_hex(4)
    if file is None:
        with online(contract) as (store, _):
            return ingesting.ingest_stored(store, contract, _features(), now, token, maximum_bad_share, cut_off)
    return ingesting.ingest(file, contract, _features(), now, token, maximum_bad_share, cut_off)


@step
def put_customers(contract: Contract, version: str) -> int:
    with online(contract) as (store, pseudonym):
        return ingesting.put_customers(contract, version, _features(), store, pseudonym)


@step
def put_transactions(file: Path, contract: Contract) -> Saved:
    with online(contract) as (store, pseudonym):
        return load_transactions(file, contract, store, pseudonym, read(TrainSettings).maximum_bad_share)


@step
def load_features(contract: Contract, version: str | None, seed: int, folds: int) -> TrainingSet:
    return load(_data_spec(contract, version or _features().latest(contract.name), seed, folds))


@step
def find_interrupted(contract: Contract, which: str) -> Interrupted:
    return _tracker().interrupted(contract, which)


@task(cache_policy=NO_CACHE)
def run_trials(data: TrainingSet, plan: Plan, resumed: Interrupted | None) -> Tuned:
    settings = read(TrainSettings)
    spec = _data_spec(data.contract, data.manifest.version, data.seed, data.folds)

    def open_pool(parent_run_id: str) -> AbstractContextManager[Pool]:
        return open_runner(
            settings.tuning_cluster,
            settings.tuning_workers,
            lambda threads: Assignment(
                data=spec,
                tracking_uri=read(ModelSettings).mlflow_tracking_uri,
                parent_run_id=parent_run_id,
                threads=threads,
                starts=len(plan.families),
                prune=settings.tuning_pruning,
                timeout_seconds=settings.trial_timeout_seconds,
                outage_seconds=settings.outage_seconds,
            ),
        )

    return tune_with(data, _tracker(), plan, open_pool, resumed)


def _data_spec(contract: Contract, version: str, seed: int, folds: int) -> DataSpec:
    bucket = read(FeatureStoreSettings).feature_bucket
    return DataSpec(bucket, contract.text, f"{contract.name}.toml", version, seed, folds)


def _tracker() -> Tracker:
    from orchestration.tracking import Tracker  # MLflow takes seconds to import, which an ingest need not pay

    return Tracker(Registry(read(ModelSettings).mlflow_tracking_uri), read(TrainSettings).outage_seconds)


def _features() -> FeatureStore:
    return FeatureStore(read(FeatureStoreSettings).feature_bucket)
