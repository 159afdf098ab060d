"""verify against the real HTTP service, which answers the very run, and behind a key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from churn.bundle import Bundle
from orchestration.__main__ import main
from tests.fake_mlflow import FakeMlflow

pytestmark = pytest.mark.integration


@pytest.fixture
def mlflow(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeMlflow]:
    made = FakeMlflow()
    made.register(bundle, "champion")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", made.url)
    monkeypatch.setenv("BUNDLE_CACHE", str(tmp_path / "cache"))
    yield made
    made.close()


def test_the_service_answers_as_the_run_s_bundle(
    web_address: str, mlflow: FakeMlflow, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", web_address, "--run-id", "champion", "--count", "50"]) == 0
    assert "50 of 50 random customers" in capsys.readouterr().out


def test_a_key_opens_a_locked_service(
    locked_web: tuple[str, str],
    mlflow: FakeMlflow,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    address, key = locked_web
    command = ["verify", address, "--run-id", "champion", "--count", "2"]

    assert main(command) == 1
    assert "status 401" in capsys.readouterr().err
    monkeypatch.setenv("WEB_API_KEY", key)
    assert main(command) == 0
