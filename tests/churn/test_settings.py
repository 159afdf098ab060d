"""Settings come from the environment first, then from files of secrets."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic_settings import SettingsConfigDict

from churn.settings import StoreSettings, read


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[StoreSettings]:
    """The store's settings in a container whose secrets are in tmp_path."""
    monkeypatch.delenv("STORE_URL", raising=False)

    class InContainer(StoreSettings):
        model_config = SettingsConfigDict(secrets_dir=tmp_path)

    return InContainer


def test_a_secret_file_sets_the_variable_of_its_name(settings: type[StoreSettings], tmp_path: Path) -> None:
    (tmp_path / "store_url").write_text("mongodb://web:secret@mongo/churnwatch\n")

    assert read(settings).store_url == "mongodb://web:secret@mongo/churnwatch"


def test_the_environment_wins_over_the_file(
    settings: type[StoreSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "store_url").write_text("mongodb://mongo/churnwatch")
    monkeypatch.setenv("STORE_URL", "sqlite:////tmp/other.db")

    assert read(settings).store_url == "sqlite:////tmp/other.db"


def test_without_either_the_default_holds(settings: type[StoreSettings]) -> None:
    assert read(settings).store_url.startswith("sqlite:///")
