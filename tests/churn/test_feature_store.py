"""Versions of features in an in-process S3: immutable, whole or absent, verified."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pandas as pd
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from churn.errors import FeatureStoreError
from churn.feature_store import FeatureStore, Manifest, new_version

NOW = datetime(2026, 1, 31, 12, 30, 15, tzinfo=UTC)


@pytest.fixture
def s3() -> Iterator[Any]:
    with mock_aws():
        yield boto3.client(
            "s3", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test", endpoint_url=None
        )


@pytest.fixture
def store(s3: Any) -> FeatureStore:
    store = FeatureStore("features-here", s3)
    store.ensure_bucket()
    return store


class Version:
    """Files of a version, ready to be written."""

    def __init__(self, folder: Path, digits: str = "0a1b2c3d", now: datetime = NOW) -> None:
        self.frame = pd.DataFrame({"customer_id": ["1", "2"], "age": [30, 40], "churned": [True, False]})
        self.features, self.quarantine = folder / "features.parquet", folder / "quarantine.parquet"
        self.frame.to_parquet(self.features, index=False)
        pd.DataFrame({"line": [3], "reason": ["bad"], "row": ["{}"]}).to_parquet(self.quarantine, index=False)
        self.manifest = Manifest(
            contract="shop",
            contract_sha256="c" * 64,
            version=new_version(now, digits),
            rows=2,
            churned_rows=1,
            quarantined_rows=1,
            sha256=hashlib.sha256(self.features.read_bytes()).hexdigest(),
            quarantine_sha256=hashlib.sha256(self.quarantine.read_bytes()).hexdigest(),
            source="file.csv",
            source_sha256="d" * 64,
            created_at=now,
            validation={},
        )

    def write(self, store: FeatureStore) -> None:
        store.write(self.manifest, self.features, self.quarantine)


def test_a_version_is_read_back_as_it_was_written(store: FeatureStore, tmp_path: Path) -> None:
    version = Version(tmp_path)
    version.write(store)

    assert store.versions("shop") == ["20260131T123015Z-0a1b2c3d"]
    assert store.latest("shop") == "20260131T123015Z-0a1b2c3d"
    assert store.manifest("shop", store.latest("shop")) == version.manifest
    pd.testing.assert_frame_equal(store.read("shop", store.latest("shop")), version.frame)
    assert list(store.quarantine("shop", store.latest("shop"))["reason"]) == ["bad"]


def test_a_version_can_be_read_in_parts(store: FeatureStore, tmp_path: Path) -> None:
    version = Version(tmp_path)
    version.write(store)
    parts = list(store.newest("shop", version.manifest.version, rows=1))

    assert [part["customer_id"].tolist() for part in parts] == [["1"], ["2"]]


def test_versions_sort_by_time(store: FeatureStore, tmp_path: Path) -> None:
    Version(tmp_path, "ffffffff").write(store)
    Version(tmp_path, "00000000", NOW.replace(minute=31)).write(store)

    assert store.latest("shop") == "20260131T123115Z-00000000"


def test_a_version_is_never_replaced(store: FeatureStore, tmp_path: Path) -> None:
    Version(tmp_path).write(store)

    with pytest.raises(FeatureStoreError, match=r"features.parquet exists already; a version is immutable"):
        Version(tmp_path).write(store)
    assert len(store.read("shop", store.latest("shop"))) == 2


def test_a_version_that_fails_half_way_leaves_nothing(s3: Any, tmp_path: Path) -> None:
    class FailsAtTheManifest:
        """An S3 that goes away before the last put."""

        meta = s3.meta

        def __getattr__(self, name: str) -> Any:
            return getattr(s3, name)

        def put_object(self, **put: Any) -> Any:
            if put["Key"].endswith("manifest.json"):
                raise ClientError({"Error": {"Code": "SlowDown", "Message": "later"}}, "PutObject")
            return s3.put_object(**put)

    store = FeatureStore("features-here", FailsAtTheManifest())
    store.ensure_bucket()
    with pytest.raises(FeatureStoreError, match="later"):
        Version(tmp_path).write(store)

    assert "Contents" not in s3.list_objects_v2(Bucket="features-here")


def test_a_version_without_its_manifest_does_not_exist(store: FeatureStore, s3: Any, tmp_path: Path) -> None:
    version = Version(tmp_path)
    version.write(store)
    s3.delete_object(Bucket="features-here", Key=f"features/shop/{version.manifest.version}/manifest.json")

    assert store.versions("shop") == []
    with pytest.raises(FeatureStoreError, match="python -m orchestration ingest --contract shop"):
        store.latest("shop")


def test_an_altered_file_is_refused(store: FeatureStore, s3: Any, tmp_path: Path) -> None:
    version = Version(tmp_path)
    version.write(store)
    key = f"features/shop/{version.manifest.version}/features.parquet"
    s3.put_object(Bucket="features-here", Key=key, Body=version.quarantine.read_bytes())

    with pytest.raises(FeatureStoreError, match="it was altered"):
        store.read("shop", version.manifest.version)


def test_an_unknown_version_is_named_beside_those_that_are_there(store: FeatureStore, tmp_path: Path) -> None:
    Version(tmp_path).write(store)

    with pytest.raises(FeatureStoreError, match=r"20990101.*not there; newest versions: 20260131T123015Z-0a1b2c3d"):
        store.read("shop", "20990101T000000Z-00000000")


def test_a_bucket_that_is_absent_holds_no_version(s3: Any) -> None:
    assert FeatureStore("nowhere", s3).versions("shop") == []


def test_a_server_that_is_down_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"URL": "http://127.0.0.1:9"}.items():
        monkeypatch.setenv(f"AWS_ENDPOINT_{name}", value)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")

    with pytest.raises(FeatureStoreError, match=r"at http://127.0.0.1:9 cannot be used: .*check AWS_ENDPOINT_URL"):
        FeatureStore("features-here").versions("shop")


def test_a_version_name_wants_eight_hexadecimal_digits() -> None:
    with pytest.raises(ValueError, match="token='xyz'"):
        new_version(NOW, "xyz")
