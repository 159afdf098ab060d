"""Real services as processes, for integration tests of several rooms."""

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
