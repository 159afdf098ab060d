"""Real services that several integration tests talk to."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from churn.bundle import Bundle
from tests.services import web_service
from tests.training_servers import Servers, started


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


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """An S3 emulator, a Prefect server and an MLflow server."""
    with started(tmp_path_factory.mktemp("training")) as servers:
        yield servers
