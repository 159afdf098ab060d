"""One demo for all tests that look at what it leaves, or go on from there."""

from __future__ import annotations

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
    left_behind = list(processes_of(environment["CHURNWATCH_HOME"]))
    return AfterDemo(environment, player.returncode, output, left_behind)
