"""The flow `report`: the reporting room's own command, since rooms do not import one another."""

from __future__ import annotations

import subprocess
import sys

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.tasks import exponential_backoff

from churn.errors import ChurnwatchError

TIMEOUT_SECONDS = 3_600


class ReportFailed(ChurnwatchError):
    """`python -m reporting` ended with an error."""


@flow(name="report", flow_run_name="report {verb}", validate_parameters=False, timeout_seconds=TIMEOUT_SECONDS)
def report(contract: str | None = None, verb: str = "catch-up") -> list[str]:
    """Report on the days that were missed, or what else the command can do (`python -m reporting --help`)."""
    lines = make_reports(verb, contract)
    create_markdown_artifact("\n".join(f"- {line}" for line in lines), key="report", description="What was reported")
    return lines


@task(
    cache_policy=NO_CACHE,
    retries=2,
    retry_delay_seconds=exponential_backoff(30),
    retry_jitter_factor=0.5,
    timeout_seconds=TIMEOUT_SECONDS,
)
def make_reports(verb: str, contract: str | None) -> list[str]:
    """Tried again, since what fails here is nearly always a store or an MLflow that does not answer."""
    command = [sys.executable, "-m", "reporting", verb, *(("--contract", contract) if contract else ())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    if done.returncode:
        raise ReportFailed(f"{' '.join(command[1:])} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return done.stdout.splitlines()
