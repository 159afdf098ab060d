"""What MLflow holds of past tunings: how their trials ended, and which of them was interrupted and can be resumed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from churn.contract import Contract
from churn.errors import ChurnwatchError
from churn.registry import CONTRACT_SHA256_TAG, DIGEST_TAG, MODEL_ID_TAG, RUN_ID_PATTERN
from orchestration.outcome import Outcome, Trial

PARENT_TAG = "mlflow.parentRunId"
KIND_TAG, TUNING = "churnwatch.kind", "tuning"
NUMBER_TAG = "churnwatch.trial"
FAMILY_TAG = "churnwatch.family"
PARAMETERS_TAG = "churnwatch.parameters"
WORKER_TAG = "churnwatch.worker"
OUTCOME_TAG = "churnwatch.outcome"
STATUS_TAG = "churnwatch.trial_status"
REASON_TAG = "churnwatch.trial_reason"
"""Of a trial's run: which point it was given when it began and by which process, and how it ended when it did."""
ALIVE_TAG = "churnwatch.alive_at"
SIGN_OF_LIFE_SECONDS = 10.0
SILENCE = timedelta(seconds=60)
"""A tuning that said nothing for so long has died."""
LATEST = "latest"
MOST_DEATHS = 3
PAGE = 500


class NothingToResume(ChurnwatchError):
    """No tuning was interrupted, or the one named cannot be gone on with."""


@dataclass(frozen=True, slots=True)
class Interrupted:
    """A tuning that did not finish, and what it was asked for."""

    run_id: str
    features_version: str
    seed: int
    folds: int
    trials: int
    families: tuple[str, ...]
    space_sha256: str


def read_outcomes(client: Any, parent_run_id: str) -> list[Outcome]:
    """By number, one each: a trial that ran twice, since its worker was taken for dead, counts once."""
    ended: dict[int, Outcome] = {}
    left_open: list[Any] = []
    for run in _trial_runs(client, parent_run_id):
        if OUTCOME_TAG not in run.data.tags:
            left_open.append(run)
            continue
        outcome = Outcome.from_json(run.data.tags[OUTCOME_TAG], _trial(run))
        if outcome.status != "finished" or outcome.trial is not None:
            ended.setdefault(outcome.number, outcome)
    for run in left_open:
        if run.info.status == "RUNNING":
            client.set_terminated(run.info.run_id, "KILLED")
    for outcome in _poisonous(left_open):
        ended.setdefault(outcome.number, outcome)
    return [ended[number] for number in sorted(ended)]


def find_interrupted(client: Any, contract: Contract, which: str, now: datetime | None = None) -> Interrupted:
    """By run id, or the newest. Raises NothingToResume saying why."""
    run = client.get_run(which) if RUN_ID_PATTERN.fullmatch(which) else _newest(client, contract)
    if run is None:
        raise NothingToResume(f"no tuning of {contract.name} was interrupted; leave out --resume to begin one")
    run_id, tags, params = run.info.run_id, run.data.tags, run.data.params
    if tags.get(KIND_TAG) != TUNING:
        raise NothingToResume(f"run {run_id} is not a tuning; give the run whose trials are nested in it")
    if run.info.status == "FINISHED":
        raise NothingToResume(f"tuning {run_id} has finished; begin another without --resume")
    if tags[CONTRACT_SHA256_TAG] != contract.sha256:
        raise NothingToResume(f"tuning {run_id} was of another state of contract {contract.name}; begin another")
    silent = (now or datetime.now(UTC)) - datetime.fromisoformat(tags.get(ALIVE_TAG, "1970-01-01T00:00:00+00:00"))
    if run.info.status == "RUNNING" and silent < SILENCE:
        raise NothingToResume(
            f"tuning {run_id} gave a sign of life {silent.total_seconds():.0f} s ago; it runs, or has just died: "
            f"try again in {SILENCE.total_seconds():.0f} s"
        )
    return Interrupted(
        run_id=run_id,
        features_version=params["features_version"],
        seed=int(params["seed"]),
        folds=int(params["folds"]),
        trials=int(params["trials"]),
        families=tuple(params["families"].split(",")),
        space_sha256=params["space_sha256"],
    )


def _newest(client: Any, contract: Contract) -> Any:
    experiment = client.get_experiment_by_name(contract.name)
    if experiment is None:
        return None
    runs = client.search_runs(
        [experiment.experiment_id],
        f"tags.`{KIND_TAG}` = '{TUNING}' and attributes.status != 'FINISHED'",
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )
    return runs[0] if runs else None


def _trial_runs(client: Any, parent_run_id: str) -> Iterator[Any]:
    """Oldest first."""
    experiment_id = client.get_run(parent_run_id).info.experiment_id
    token = None
    while True:
        page = client.search_runs(
            [experiment_id],
            f"tags.`{PARENT_TAG}` = '{parent_run_id}'",
            order_by=["attributes.start_time ASC"],
            max_results=PAGE,
            page_token=token,
        )
        yield from page
        token = page.token
        if not token:
            return


def _trial(run: Any) -> Trial | None:
    """The candidate of a run, when its bundle was logged to the end."""
    tags = run.data.tags
    if DIGEST_TAG not in tags:
        return None
    return Trial(
        run_id=run.info.run_id,
        model_id=tags[MODEL_ID_TAG],
        digest=tags[DIGEST_TAG],
        family=run.data.tags[FAMILY_TAG],
        parameters=json.loads(tags[PARAMETERS_TAG]),
        metrics=dict(run.data.metrics),
    )


def _poisonous(left_open: list[Any]) -> Iterator[Outcome]:
    deaths = Counter(run.data.tags[NUMBER_TAG] for run in left_open)
    for run in left_open:
        if deaths[run.data.tags[NUMBER_TAG]] >= MOST_DEATHS:
            yield Outcome(
                number=int(run.data.tags[NUMBER_TAG]),
                status="failed",
                family=run.data.tags[FAMILY_TAG],
                parameters=json.loads(run.data.tags[PARAMETERS_TAG]),
                reason=f"its process died with it {deaths[run.data.tags[NUMBER_TAG]]} times",
            )
