"""GitHub's workflows: their schema, their safety, and that what they call is here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TOOLS = Path(sys.executable).parent


@pytest.mark.parametrize(
    "command",
    [
        ["check-jsonschema", "--builtin-schema", "vendor.github-workflows"],
        ["zizmor", "--offline", "--no-progress", "--quiet"],
    ],
    ids=lambda command: command[0],
)
def test_their_linters_are_content(command: list[str]) -> None:
    linter = [str(TOOLS / command[0]), *command[1:], *map(str, WORKFLOWS)]
    done = subprocess.run(linter, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_nothing_of_others_runs_but_what_is_pinned_by_its_commit(path: Path) -> None:
    used = re.findall(r"uses: (\S+)", path.read_text())

    assert used
    assert all(re.fullmatch(r"actions/checkout@[0-9a-f]{40}", one) for one in used)


def test_every_script_that_they_call_is_here_and_executable() -> None:
    text = "".join(path.read_text() for path in WORKFLOWS)
    called = set(re.findall(r"\.ci/[\w./-]+", text))

    assert {".ci/run", ".ci/deploy/roll.py", ".ci/deploy/keys"} <= called
    assert all(os.access(ROOT / script, os.X_OK) for script in called)


def test_a_deployment_follows_the_file_that_names_what_is_deployed() -> None:
    document = yaml.safe_load((ROOT / ".github" / "workflows" / "deploy.yml").read_text())
    push = document[True]["push"]  # YAML reads the word on as true

    assert push == {"branches": ["main"], "paths": [".env.cloud"]}
    assert document["concurrency"]["cancel-in-progress"] is False
    assert document["jobs"]["deploy"]["environment"] == "production"
