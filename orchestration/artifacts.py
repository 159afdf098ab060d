"""What Prefect's pages show of a tuning and of a retraining: tables to read, and links into MLflow."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from orchestration.comparison_page import COLUMNS, cell
from orchestration.outcome import Trial

if TYPE_CHECKING:
    from orchestration.retraining import Notice
    from orchestration.tuning import Tuned

PAGE = "comparison/candidates.html"


def show_tuning(contract: str, tuned: Tuned, mlflow_address: str) -> None:
    """The finished trials, best first, and the way to all of them side by side."""
    create_table_artifact(
        trial_rows(tuned.trials),
        key=key("trials", contract),
        description=f"Trials on {tuned.features_version}, best first; RUN_ID={tuned.best.run_id}",
    )
    create_link_artifact(
        run_address(mlflow_address, tuned.parent_run_id),
        link_text=f"all candidates side by side: Artifacts, {PAGE}",
        key=key("tuning", contract),
        description=f"The tuning in MLflow; its best waits as version {tuned.model_version} of {contract}",
    )


def show_retraining(told: Notice, mlflow_address: str) -> None:
    """What became of it as a sentence, each fact of it, and the way to the challenger and its evidence."""
    name = key("retrain", told.contract)
    create_table_artifact(notice_rows(told), key=name, description=f"{told.outcome}: {told.sentence}")
    create_markdown_artifact(
        f"## {told.contract}: {told.outcome}\n\n{told.sentence}\n\nBegun for: {told.reason}\n",
        key=f"{name}-notice",
        description=f"What became of the retraining of {told.contract}",
    )
    if told.run_id:
        create_link_artifact(
            run_address(mlflow_address, told.run_id),
            link_text=f"run {told.run_id}: Artifacts, {told.evidence}/evidence.html",
            key=f"{name}-run",
            description="The challenger in MLflow, and the evidence on it",
        )


def trial_rows(trials: Sequence[Trial]) -> list[dict[str, str]]:
    """As on the tuning's own page: its columns, its roundings; who wants all digits asks MLflow."""
    return [
        {
            "#": str(rank),
            "Model": trial.family,
            **{title: cell(name, trial) for name, (_, title, _) in COLUMNS.items()},
            "RUN_ID": trial.run_id,
        }
        for rank, trial in enumerate(trials, start=1)
    ]


def notice_rows(told: Notice) -> list[dict[str, str]]:
    """A line each, since one wide row would have to be scrolled; what is empty is left out."""
    rows = []
    for name, value in told.to_document().items():
        if value not in ("", None, []):
            words = ", ".join(value) if isinstance(value, list) else str(value)
            rows.append({"what": name.replace("_", " "), "told": words})
    return rows


def run_address(mlflow_address: str, run_id: str) -> str:
    """MLflow finds the run's experiment by itself."""
    return f"{mlflow_address.rstrip('/')}/#/runs/{run_id}"


def key(what: str, contract: str) -> str:
    """Prefect takes lower-case letters, digits and dashes."""
    return f"{what}-{re.sub(r'[^a-z0-9]+', '-', contract.lower())}"
