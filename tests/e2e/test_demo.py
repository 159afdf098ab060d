"""`make demo` as a user runs it: real servers on free ports, the summary's counts, and nothing left behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes import DATA

ROOT = Path(__file__).resolve().parents[2]
BANK_CHURNERS = DATA / "BankChurners.csv"
PORTS = ("AWS_PORT", "MLFLOW_PORT", "PREFECT_PORT", "WEB_PORT", "WATCH_PORT", "STREAM_METRICS_PORT")

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


@pytest.fixture
def stage_environment(tmp_path: Path) -> dict[str, str]:
    ports = dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))
    return {**os.environ, **ports, "CHURNWATCH_HOME": str(tmp_path / "home")}


def processes_of(home: str) -> Iterator[int]:
    """Processes that live on this home: each has it in its environment."""
    wanted = f"CHURNWATCH_HOME={home}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                yield int(folder.name)
        except OSError:
            continue


def demo(environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "simulation", "demo", *arguments],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def test_the_demo_ends_with_counts_that_agree_and_leaves_no_process(stage_environment: dict[str, str]) -> None:
    data = ["--data", str(BANK_CHURNERS)] if BANK_CHURNERS.exists() else []
    with demo(stage_environment, "--trials", "2", *data) as player:
        output, _ = player.communicate(timeout=540)

    assert player.returncode == 0, output
    assert "1,000 sent, 1,000 answered, 1,000 logged" in output
    assert "2,000 sent, 2,000 answered, 2,000 logged" in output
    reports = Path(stage_environment["CHURNWATCH_HOME"]) / "reports"
    assert (reports / "index.html").is_file()
    assert list(processes_of(stage_environment["CHURNWATCH_HOME"])) == []


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
