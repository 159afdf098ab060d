"""export writes what the scorer reads, to a file or to S3."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from churn.artifact import make_artifact
from churn.bundle import Bundle
from churn.errors import FolderUnusable, SettingError
from orchestration.__main__ import main
from orchestration.export import write_artifact
from serverless.warm import Warm, from_s3
from tests.fake_mlflow import FakeMlflow
from tests.fakes import make_bundle


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="models")
        yield client


def test_the_champion_becomes_a_file(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mlflow = FakeMlflow()
    mlflow.register(bundle, "champion")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow.url)
    monkeypatch.setenv("CHURNWATCH_HOME", str(tmp_path / "home"))
    target = tmp_path / "model.json"
    try:
        assert main(["export", "champion", "--to", str(target)]) == 0
    finally:
        mlflow.close()

    assert target.read_bytes() == make_artifact(bundle)
    assert bundle.run_id in capsys.readouterr().out


def test_an_object_of_s3_is_served_and_a_new_one_picked_up(s3: Any, bundle: Bundle, tmp_path: Path) -> None:
    seconds = [0.0]
    write_artifact(make_artifact(bundle), "s3://models/credit/model.json")
    warm = Warm(from_s3("s3://models/credit/model.json", s3), clock=lambda: seconds[0])
    runs = [_run(warm)]
    seconds[0] = 60.0
    runs.append(_run(warm))
    write_artifact(make_artifact(make_bundle(tmp_path / "newer", run_id="b" * 32)), "s3://models/credit/model.json")
    seconds[0] = 120.0
    runs.append(_run(warm))
    s3.delete_object(Bucket="models", Key="credit/model.json")
    seconds[0] = 180.0
    runs.append(_run(warm))

    assert runs == ["a" * 32, "a" * 32, "b" * 32, "b" * 32]


def test_a_place_that_cannot_be_written_is_named(s3: Any, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="s3://BUCKET/KEY"):
        write_artifact(b"", "s3://models")
    with pytest.raises(SettingError, match="absent"):
        write_artifact(b"", "s3://absent/model.json")
    with pytest.raises(FolderUnusable, match="nowhere"):
        write_artifact(b"", str(tmp_path / "nowhere" / "model.json"))


def _run(warm: Warm) -> str:
    artifact = warm.artifact()
    assert artifact is not None
    return artifact.run_id
