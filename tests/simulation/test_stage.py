"""The stage leaves nothing behind, and says what is wrong when a part cannot play."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from simulation.stage import Stage, StageError, StageSettings, environment, environment_file, port_is_free

SERVER = (
    "import http.server, sys;"
    "http.server.test(http.server.SimpleHTTPRequestHandler, port=int(sys.argv[1]), bind='127.0.0.1')"
)
PARENT = (
    "import subprocess, sys, time; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
    "print(child.pid, flush=True); time.sleep(60)"
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def gone(pid: int, within_seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + within_seconds
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


def test_a_part_is_ready_when_its_route_answers(tmp_path: Path) -> None:
    port = free_port()
    with Stage(tmp_path, os.environ) as stage:
        part = stage.start("files", [sys.executable, "-c", SERVER, str(port)], port)

        assert stage.wait_ready(part, f"http://127.0.0.1:{port}/", 20) > 0
        assert not port_is_free(port)
    assert gone(part.process.pid)


def test_children_of_a_part_end_with_it(tmp_path: Path) -> None:
    with Stage(tmp_path, os.environ) as stage:
        part = stage.start("parent", [sys.executable, "-c", PARENT])
        deadline = time.monotonic() + 20
        while not part.log.read_text() and time.monotonic() < deadline:
            time.sleep(0.02)
        child = int(part.log.read_text())

        assert not gone(child, within_seconds=0.0)
    assert gone(child)


def test_an_error_in_the_middle_ends_every_part(tmp_path: Path) -> None:
    part = None

    def play() -> None:
        nonlocal part
        with Stage(tmp_path, os.environ) as stage:
            part = stage.start("sleeper", [sys.executable, "-c", "import time; time.sleep(60)"])
            raise ValueError("the play went wrong")

    with pytest.raises(ValueError, match="the play went wrong"):
        play()

    assert part is not None
    assert gone(part.process.pid)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_every_part(tmp_path: Path, number: signal.Signals) -> None:
    program = (
        "import os, sys, time; from pathlib import Path; from simulation.stage import Stage\n"
        "with Stage(Path(sys.argv[1]), os.environ) as stage:\n"
        "    part = stage.start('sleeper', [sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "    print(part.process.pid, flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        cwd=Path(__file__).resolve().parents[2],
    ) as player:  # fmt: skip
        assert player.stdout is not None
        part = int(player.stdout.readline())
        player.send_signal(number)

        assert player.wait(20) != 0
    assert gone(part)


def test_a_part_that_ends_early_says_why(tmp_path: Path) -> None:
    with Stage(tmp_path, os.environ) as stage:
        part = stage.start("broken", [sys.executable, "-c", "import sys; sys.exit('no such bucket')"])

        with pytest.raises(StageError, match=r"(?s)broken ended with code 1:.*no such bucket"):
            stage.wait_ready(part, "http://127.0.0.1:9/", 20)


def test_a_part_that_is_never_ready_is_given_up(tmp_path: Path) -> None:
    with Stage(tmp_path, os.environ) as stage:
        part = stage.start("silent", [sys.executable, "-c", "import time; time.sleep(60)"])

        with pytest.raises(StageError, match="silent was not ready at"):
            stage.wait_ready(part, f"http://127.0.0.1:{free_port()}/", 0.5)


def test_a_port_in_use_is_said_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken, Stage(tmp_path, os.environ) as stage:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = int(taken.getsockname()[1])

        with pytest.raises(StageError, match=f"port {port} for mlflow is in use; .* set MLFLOW_PORT"):
            stage.start("mlflow", [sys.executable, "-c", "pass"], port)
        assert stage.parts == []


def test_the_embedded_default_never_leads_to_a_real_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a real key")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example.com")

    found = environment(tmp_path, StageSettings(aws_port=1234), "credit_card")

    assert found["AWS_ACCESS_KEY_ID"] == "embedded"
    assert found["AWS_ENDPOINT_URL"] == "http://127.0.0.1:1234"
    assert found["MLFLOW_TRACKING_URI"].startswith("http://127.0.0.1:")


def test_a_shell_that_reads_the_environment_file_finds_the_servers_while_they_stay(tmp_path: Path) -> None:
    asked = 'echo "$AWS_ENDPOINT_URL $MLFLOW_TRACKING_URI"; command -v python'
    home = tmp_path / "it's here"
    home.mkdir()
    with environment_file(home, StageSettings(aws_port=4001, mlflow_port=4002)) as file:
        told = subprocess.run(["sh", "-c", f'. "{file}"; {asked}'], capture_output=True, text=True, check=True)

    assert told.stdout.split() == ["http://127.0.0.1:4001", "http://127.0.0.1:4002", sys.executable]
    assert not file.exists()


def test_a_file_that_a_killed_process_left_sets_nothing(tmp_path: Path) -> None:
    with environment_file(tmp_path, StageSettings()) as file:
        left = file.read_text().replace(f"kill -0 {os.getpid()} ", "kill -0 999999999 ")
    told = subprocess.run(
        ["sh", "-c", f'unset AWS_ENDPOINT_URL\n{left}\necho "<$AWS_ENDPOINT_URL>"'],
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert told.stdout == "<>\n"
    assert "make up has ended" in told.stderr
