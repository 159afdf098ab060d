"""kinesalite, the emulator that is right about resharding, as a process. Tests skip with one line without it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from tests.services import free_port


@contextmanager
def kinesalite(folder: Path) -> Iterator[str]:
    """Its address; it ends with the block. `folder` takes an installation where none is on the path."""
    program = shutil.which("kinesalite") or _installed(folder)
    port = free_port()
    arguments = ["--port", str(port), "--createStreamMs", "50", "--updateStreamMs", "50", "--shardLimit", "100"]
    process = subprocess.Popen([program, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_until_it_listens(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def client_of(endpoint: str) -> Any:
    """A client as a producer or an operator has one."""
    return boto3.client(
        "kinesis",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"max_attempts": 5}),
    )


def _installed(folder: Path) -> str:
    """kinesalite by npm, where there is one."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("neither kinesalite nor npm is here: no emulator that can split and merge shards")
    command = [npm, "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--silent", "kinesalite@3.3.3"]
    try:
        installed = subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        installed = False
    if not installed:
        pytest.skip("npm cannot install kinesalite here: no emulator that can split and merge shards")
    return str(folder / "node_modules" / ".bin" / "kinesalite")


def _wait_until_it_listens(port: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError("kinesalite did not listen within 30 s")
