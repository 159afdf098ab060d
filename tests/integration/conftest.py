"""Real services that several integration tests talk to."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from churn.bundle import Bundle

START_SECONDS = 60


@pytest.fixture(scope="session")
def web_address(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`python -m web_service` on a free port. It takes short lists only, so that too long a one is no megabytes."""
    with web_service(bundle, tmp_path_factory.mktemp("web"), WEB_MAX_LIST="100") as address:
        yield address


@pytest.fixture(scope="session")
def locked_web(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The same, demanding keys: its address, and a key."""
    home = tmp_path_factory.mktemp("locked")
    environment = os.environ | {"CHURNWATCH_HOME": str(home)}
    command = [sys.executable, "-m", "web_service", "keys", "add", "tests"]
    key = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()
    with web_service(bundle, home, WEB_KEYS="always") as address:
        yield address, key


@contextmanager
def web_service(bundle: Bundle, home: Path, **environment: str) -> Iterator[str]:
    """The real service with two workers, started from its cache since no MLflow is there; ends with the block."""
    shutil.copytree(bundle.folder, home / "cache" / "bundles" / bundle.digest)
    (home / "cache" / "pointers").mkdir()
    pointer = {"run_id": bundle.run_id, "digest": bundle.digest}
    (home / "cache" / "pointers" / bundle.run_id).write_text(json.dumps(pointer))
    port = free_port()
    settings = {
        "CHURNWATCH_HOME": str(home),
        "STORE_URL": f"sqlite:///{home / 'store.db'}",
        "RUN_ID": bundle.run_id,
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}",
        "WEB_HOST": "127.0.0.1",
        "WEB_PORT": str(port),
        "WEB_WORKERS": "2",
    }
    command = [sys.executable, "-m", "web_service"]
    with (home / "log").open("wb") as log:
        service = subprocess.Popen(command, env=os.environ | settings | environment, stdout=log, stderr=log)
    try:
        wait_until_ready(f"http://127.0.0.1:{port}", service, home / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        service.send_signal(signal.SIGTERM)
        try:
            service.wait(30)
        except subprocess.TimeoutExpired:
            service.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_ready(address: str, service: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and service.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/ready", timeout=2) as response:
                if response.status == 200:
                    return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"the service did not become ready:\n{log.read_text()[-3000:]}")
