"""`make demo` as a user runs it: real servers on free ports, the summary's counts, and nothing left behind."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.stage import AfterDemo, demo, processes_of

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def test_the_demo_ends_with_counts_that_agree_and_leaves_no_process(after_demo: AfterDemo) -> None:
    assert after_demo.exit_code == 0, after_demo.output
    assert "1,000 sent, 1,000 answered, 1,000 logged" in after_demo.output
    assert "2,000 sent, 2,000 answered, 2,000 logged" in after_demo.output
    assert (after_demo.home / "reports" / "index.html").is_file()
    assert after_demo.left_behind == []


def test_a_table_of_ones_own_goes_through_the_loop(stage_environment: dict[str, str], tmp_path: Path) -> None:
    page = (ROOT / "docs" / "tutorial-your-data.md").read_text(encoding="utf-8")
    program = re.search(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert program is not None
    subprocess.run([sys.executable, "-c", program[1]], cwd=tmp_path, check=True)
    table, contract = str(tmp_path / "gym.csv"), str(tmp_path / "gym.toml")
    infer = [sys.executable, "-m", "orchestration", "contract", "infer", table, "--target", "Left", "--out", contract]
    subprocess.run(infer, cwd=ROOT, check=True)

    with demo(stage_environment, "--trials", "2", "--contract", contract, "--data", table) as player:
        output, _ = player.communicate(timeout=540)

    assert player.returncode == 0, output
    assert "1,000 sent, 1,000 answered, 1,000 logged" in output


def test_ctrl_c_in_the_middle_leaves_no_process(stage_environment: dict[str, str]) -> None:
    with demo(stage_environment) as player:
        assert player.stdout is not None
        seen = ""
        while "2. ingest" not in seen:
            line = player.stdout.readline()
            assert line, seen
            seen += line
        assert len(list(processes_of(stage_environment["CHURNWATCH_HOME"]))) > 1
        player.send_signal(signal.SIGINT)
        player.stdout.read()

        assert player.wait(60) == 130
    deadline = time.monotonic() + 10
    while list(processes_of(stage_environment["CHURNWATCH_HOME"])) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list(processes_of(stage_environment["CHURNWATCH_HOME"])) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--data", "no/such.csv"], "no/such.csv: no such file"),
        (["--contract", "no_such"], "no_such: no such contract; known:"),
    ],
)
def test_a_wrong_argument_is_one_sentence(
    stage_environment: dict[str, str], arguments: list[str], sentence: str
) -> None:
    with demo(stage_environment, *arguments) as player:
        output, _ = player.communicate(timeout=60)

    assert player.returncode == 1
    assert output.startswith("error: ")
    assert sentence in output
    assert "Traceback" not in output


def test_a_port_in_use_is_one_sentence_and_nothing_stays(stage_environment: dict[str, str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(stage_environment["MLFLOW_PORT"])))
        taken.listen()
        with demo(stage_environment) as player:
            output, _ = player.communicate(timeout=60)

    assert player.returncode == 1
    assert f"port {stage_environment['MLFLOW_PORT']} for mlflow is in use" in output
    assert list(processes_of(stage_environment["CHURNWATCH_HOME"])) == []


def test_a_home_that_cannot_be_written_is_one_sentence(stage_environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    environment = {**stage_environment, "CHURNWATCH_HOME": str(tmp_path / "file" / "home")}
    with demo(environment) as player:
        output, _ = player.communicate(timeout=60)

    assert player.returncode == 1
    assert "set CHURNWATCH_HOME to a folder that can" in output
    assert "Traceback" not in output
