"""prefect.yaml, for a work pool, says what `python -m orchestration serve` registers on one host."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from churn.settings import ScheduleSettings
from orchestration.deployments import deployments

pytestmark = pytest.mark.integration  # Prefect alone takes seconds to import
ROOT = Path(__file__).resolve().parents[2]


def of_the_file() -> dict[str, Any]:
    document = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    return {
        one["entrypoint"].replace("/", ".").replace(".py:", ".") + " " + one["name"]: (
            one["parameters"],
            [(schedule["cron"], schedule.get("parameters", {})) for schedule in one.get("schedules", [])],
            (one["concurrency_limit"]["limit"], one["concurrency_limit"]["collision_strategy"]),
            one["tags"],
        )
        for one in document["deployments"]
    }


def of_the_code() -> dict[str, Any]:
    return {
        f"{one.entrypoint} {one.name}": (
            one.parameters,
            [(schedule.schedule.cron, schedule.parameters) for schedule in one.schedules or ()],
            (one.concurrency_limit, one.concurrency_options.collision_strategy.value),
            one.tags,
        )
        for one in deployments("credit_card", ScheduleSettings())
    }


def test_both_say_the_same() -> None:
    assert of_the_file() == of_the_code()


def test_every_flow_ends_in_time_and_every_entry_point_is_one() -> None:
    for name in of_the_file():
        module, _, flow = name.split(" ")[0].rpartition(".")

        assert 0 < getattr(importlib.import_module(module), flow).timeout_seconds <= 86_400
