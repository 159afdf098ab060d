"""The running service does what its OpenAPI document says, and nothing else: Schemathesis looks for the exceptions."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = 40
SETTINGS = """
hooks = "tests.integration.schemathesis_hooks"
[checks]
# Too long a list is refused too, with a status that Schemathesis does not expect for it.
negative_data_rejection.expected-statuses = [400, 401, 403, 404, 405, 413, 415, 422]
"""


def test_no_answer_is_undocumented_and_no_input_crashes(web_address: str, tmp_path: Path) -> None:
    settings = tmp_path / "schemathesis.toml"
    settings.write_text(SETTINGS)
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(settings), "run", "--no-color"]
    limits = ["--max-examples", str(EXAMPLES), "--seed", "7", "--generation-database", "none"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}

    found = subprocess.run(
        [*command, *limits, f"{web_address}/openapi.json"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip

    assert found.returncode == 0, "\n".join(line[:400] for line in (found.stdout + found.stderr).splitlines())
    assert "Tested: 8" in found.stdout
