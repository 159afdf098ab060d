"""The demo and what stays after it, as processes on free ports with a home of their own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PORTS = {
    "AWS_PORT": 4566,
    "MLFLOW_PORT": 5051,
    "PREFECT_PORT": 4200,
    "WEB_PORT": 9696,
    "WATCH_PORT": 8085,
    "STREAM_METRICS_PORT": 8086,
    "REPORTS_PORT": 8888,
}
"""Every port of the stage, with its default: what the pages name."""
UP_SECONDS = 180


@dataclass(frozen=True)
class AfterDemo:
    """How a demo of two trials ended; its home holds the model and all that was logged."""

    environment: dict[str, str]
    exit_code: int
    output: str
    left_behind: list[int]

    @property
    def home(self) -> Path:
        return Path(self.environment["CHURNWATCH_HOME"])


def environment_in(folder: Path) -> dict[str, str]:
    """This machine's, with a home and free ports."""
    ports = dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))
    return {**os.environ, **ports, "CHURNWATCH_HOME": str(folder / "home")}


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def demo(environment: Mapping[str, str], *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "simulation", "demo", *arguments],
        cwd=ROOT, env=dict(environment), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip


def processes_of(home: str) -> Iterator[int]:
    """Processes that live on this home: each has it in its environment."""
    wanted = f"CHURNWATCH_HOME={home}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                yield int(folder.name)
        except OSError:
            continue


@contextmanager
def up(environment: Mapping[str, str], log: Path) -> Iterator[Path]:
    """`make up` without make, until the block ends: the file that a shell reads to find its servers."""
    command = [sys.executable, "-m", "simulation", "up"]
    with log.open("wb") as file:
        player = subprocess.Popen(
            command, cwd=ROOT, env=dict(environment), stdout=file, stderr=file, start_new_session=True
        )
    try:
        found = Path(environment["CHURNWATCH_HOME"]) / "env"
        deadline = time.monotonic() + UP_SECONDS
        while not found.exists() and player.poll() is None and time.monotonic() < deadline:
            time.sleep(0.2)
        assert found.exists(), log.read_text(encoding="utf-8")[-3000:]
        yield found
    finally:
        player.send_signal(signal.SIGINT)
        player.wait(60)
