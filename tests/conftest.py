"""Fixtures that every room's tests may use."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import pytest
from botocore.loaders import JSONFileLoader

from churn.bundle import Bundle, load_bundle
from churn.contract import Contract, load_contract
from tests.fakes import make_bundle

os.environ.update(DO_NOT_TRACK="1", MLFLOW_DISABLE_TELEMETRY="true", PREFECT_SERVER_ANALYTICS_ENABLED="false")

# A client of AWS reads 100 ms of descriptions, and tests make hundreds of clients.
_descriptions = functools.cache(JSONFileLoader().load_file)
JSONFileLoader.load_file = lambda self, path: _descriptions(path)  # type: ignore[method-assign]


@pytest.fixture(scope="session")
def credit_card() -> Contract:
    return load_contract("credit_card")


@pytest.fixture(scope="session")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real small bundle on disk. Do not alter it: copy it first."""
    folder = tmp_path_factory.mktemp("bundle") / "credit_card"
    make_bundle(folder)
    return folder


@pytest.fixture(scope="session")
def bundle(bundle_folder: Path) -> Bundle:
    return load_bundle(bundle_folder)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One clear line about what this machine could not show."""
    if not os.environ.get("MONGODB_URI"):
        terminalreporter.write_line("MONGODB_URI is not set: the store was tested on SQLite only")
