"""One demo for all tests that look at what it leaves, or go on from there."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.e2e.stage import AfterDemo, demo, environment_in, processes_of


@pytest.fixture
def stage_environment(tmp_path: Path) -> dict[str, str]:
    return environment_in(tmp_path)


@pytest.fixture(scope="session")
def after_demo(tmp_path_factory: pytest.TempPathFactory) -> AfterDemo:
    """`make demo` of two trials, as a user runs it."""
    environment = environment_in(tmp_path_factory.mktemp("demo"))
    with demo(environment, "--trials", "2") as player:
        output, _ = player.communicate(timeout=540)
    deadline = time.monotonic() + 10  # those that were killed take a moment to be gone
    while (left_behind := list(processes_of(environment["CHURNWATCH_HOME"]))) and time.monotonic() < deadline:
        time.sleep(0.1)
    return AfterDemo(environment, player.returncode, output, left_behind)
