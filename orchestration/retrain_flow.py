"""The flow `retrain`: retraining.py's steps as Prefect tasks, with what Prefect's pages show of them."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Any

import structlog
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.tasks import exponential_backoff

from churn.contract import Contract, load_contract
from churn.errors import FeatureStoreUnavailable, RegistryUnavailable, StoreUnavailable
from churn.feature_store import FeatureStore, Manifest
from churn.pseudonym import key_source, pseudonyms
from churn.settings import (
    FeatureStoreSettings,
    ModelSettings,
    PromotionSettings,
    PseudonymSettings,
    RetrainSettings,
    StoreSettings,
    TrainSettings,
    read,
)
from churn.store import PredictionStore, open_store
from orchestration import labelled_features, notice, retraining
from orchestration.alarms import ringing
from orchestration.artifacts import show_retraining
from orchestration.claims import RetrainingRefused, Rules
from orchestration.flows import tune
from orchestration.gates import Limits
from orchestration.promotion import Promoted, promote
from orchestration.release_commands import open_desk
from orchestration.retraining import Notice, Steps, judging

log = structlog.get_logger()

TIMEOUT_SECONDS = 6 * 3_600
RETRIES = 3


def _outage(_task: Any, _run: Any, state: Any) -> bool:
    """Try again only what may heal by itself."""
    outages = (FeatureStoreUnavailable, RegistryUnavailable, StoreUnavailable)
    return isinstance(state.result(raise_on_failure=False), outages)


patient = task(
    cache_policy=NO_CACHE,
    retries=RETRIES,
    retry_delay_seconds=exponential_backoff(5),
    retry_jitter_factor=0.5,
    retry_condition_fn=_outage,
)


@flow(
    name="retrain",
    flow_run_name="retrain {contract}: {reason}",
    validate_parameters=False,
    timeout_seconds=TIMEOUT_SECONDS,
)
def retrain(
    contract: str,
    reason: str = "asked for by hand",
    trials: int | None = None,
    only_if_alarmed: bool = False,
    force: bool = False,
) -> Notice:
    """A challenger from ingested customers and the log's labelled requests; the outcome says it if nothing was begun.

    With `only_if_alarmed`, nothing is begun unless an alarm of the watch rings for a run that answered lately.
    """
    loaded, rules, store = load_contract(contract), read(RetrainSettings), _store()
    try:
        if only_if_alarmed:
            alarms = ringing(store, loaded.name, datetime.now(UTC))
            if not alarms:
                return Notice(loaded.name, reason, "no alarm", f"no alarm of the watch rings for {loaded.name}")
            reason = f"the watch: {alarms[0]}"
        steps = Steps(
            publish=lambda: publish(loaded),
            tune=lambda version: tune(contract, version, trials, None, False),
            judge=lambda run_id: judge(run_id, loaded),
            tell=_tell,
        )
        waits = Rules(rules.retrain_cooldown_seconds, rules.retrain_retry_seconds)
        return retraining.retrain(loaded.name, reason, store, steps, waits, lambda: datetime.now(UTC), force)
    except RetrainingRefused as error:
        log.info("retraining_not_begun", contract=loaded.name, reason=reason, because=str(error))
        return Notice(loaded.name, reason, "not begun", str(error))
    finally:
        store.close()


@patient
def publish(contract: Contract) -> Manifest:
    """The log as of now, written as a new version of features."""
    rules, train = read(RetrainSettings), read(TrainSettings)
    pseudonym = pseudonyms(contract, key_source(read(PseudonymSettings)))
    wanted = labelled_features.Wanted(
        as_of=datetime.now(UTC),
        most=rules.retrain_requests,
        token=secrets.token_hex(4),
        maximum_bad_share=train.maximum_bad_share,
        fewest=rules.retrain_minimum_labels,
    )
    store = _store()
    try:
        features = FeatureStore(read(FeatureStoreSettings).feature_bucket)
        return labelled_features.publish(contract, features, store, pseudonym, wanted)
    finally:
        store.close()


@patient
def judge(run_id: str, contract: Contract) -> Promoted:
    """The evidence that `promote` makes. The champion stays unless AUTO_PROMOTE is set and every gate is passed."""
    settings, auto = read(PromotionSettings), read(RetrainSettings).auto_promote
    limits = Limits(settings.promotion_calibration_error, settings.promotion_latency_seconds)
    desk = open_desk()
    try:
        request = judging(auto, settings.promotion_requests)
        return promote(desk.registry.resolve(run_id, contract.name), contract, request, limits, desk)
    finally:
        desk.store.close()


def _tell(told: Notice) -> None:
    notice.tell(told, read(RetrainSettings).retrain_notice_url)
    show_retraining(told, read(ModelSettings).mlflow_tracking_uri)


def _store() -> PredictionStore:
    settings = read(StoreSettings)
    store = open_store(settings.store_url, timeout_seconds=settings.store_timeout_seconds)
    store.check()
    return store
