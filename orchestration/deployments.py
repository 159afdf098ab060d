"""Prefect's deployments on one host: what runs when, how many at once, and who notices a run that died.

prefect.yaml says the same for a work pool on more hosts; tests/orchestration/test_deployments.py compares them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from prefect import Flow, serve
from prefect.automations import EventTrigger, Posture
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy, StateType
from prefect.deployments.runner import RunnerDeployment
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore
from prefect.schedules import Cron, Schedule
from prefect.types.entrypoint import EntrypointType

from churn.settings import ScheduleSettings
from orchestration.flows import ingest, tune
from orchestration.report_flow import report
from orchestration.retrain_flow import retrain

RUNS_AT_ONCE = 2
"""A tuning takes all the cores there are; a second flow beside it is a short one."""
HEARTBEAT = "prefect.flow-run.heartbeat"
ENDS = frozenset({f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed", "Paused")})
LOST = "Mark flow runs without a heartbeat as crashed"

WAIT = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE)
GIVE_WAY = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
"""A second run of these would only do the same again."""


def serve_deployments(contract: str, schedules: ScheduleSettings) -> None:
    """Register all, and run what is due in processes of their own until a signal. Needs PREFECT_API_URL."""
    notice_lost_runs(schedules.flow_lost_seconds)
    serve(*deployments(contract, schedules), limit=RUNS_AT_ONCE, print_starting_message=False)


def deployments(contract: str, when: ScheduleSettings) -> list[RunnerDeployment]:
    """Every deployment of a contract; those without a cron line run by hand, by a trigger, or from Prefect's page."""
    one = {"contract": contract}
    hourly = {**one, "trials": when.tune_hourly_trials, "show_progress": False}
    looks = _cron(when.retrain_look_cron, only_if_alarmed=True) + _cron(when.retrain_cron, reason="its time has come")
    found = [
        _deployment(ingest, "ingest", {**one, "file": when.ingest_file}, WAIT, _cron(when.ingest_cron)),
        _deployment(tune, "hourly", hourly, GIVE_WAY, _cron(when.tune_hourly_cron)),
        _deployment(tune, "daily", {**one, "show_progress": False}, WAIT, _cron(when.tune_daily_cron)),
        _deployment(retrain, "retrain", one, GIVE_WAY, looks),
    ]
    if importlib.util.find_spec("reporting"):  # its image is another where each room has one
        found.append(_deployment(report, "daily", {}, WAIT, _cron(when.report_cron)))
    return found


def notice_lost_runs(silent_seconds: float) -> None:
    """An automation that marks a run as crashed once its heartbeat was silent for so long. Made, or made anew."""
    automation = AutomationCore(
        name=LOST,
        description="A process that was killed, or whose host is gone, can no longer say so itself.",
        trigger=EventTrigger(
            after={HEARTBEAT},
            expect={HEARTBEAT, *ENDS},
            match={"prefect.resource.id": ["prefect.flow-run.*"]},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=silent_seconds),
        ),
        actions=[
            ChangeFlowRunState(
                name="Crashed",
                state=StateType.CRASHED,
                message=f"No heartbeat for {silent_seconds:.0f} s: it has died.",
                force=False,
            )
        ],
    )
    with get_client(sync_client=True) as client:
        known = client.read_automations_by_name(LOST)
        for surplus in known[1:]:  # two hosts that started at the same moment
            client.delete_automation(surplus.id)
        if known:
            client.update_automation(known[0].id, automation)
        else:
            client.create_automation(automation)


def _cron(line: str, **parameters: Any) -> list[Schedule]:
    return [Cron(line, parameters=parameters)] if line else []


def _deployment(
    flow: Flow[Any, Any],
    name: str,
    parameters: Mapping[str, Any],
    limit: ConcurrencyLimitConfig,
    schedules: list[Schedule],
) -> RunnerDeployment:
    return RunnerDeployment.from_flow(
        flow,
        name=name,
        parameters=dict(parameters),
        schedules=schedules,
        concurrency_limit=limit,
        tags=["churnwatch"],
        description=flow.__doc__,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
