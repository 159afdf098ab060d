"""Versions of feature tables in S3: s3://BUCKET/features/CONTRACT/VERSION/{features,quarantine}.parquet, manifest.json.

Where features are as of a cut-off date, newest.parquet holds the customers as they are now. A version is immutable and
exists once its manifest does, which is written last. boto3 has two homes: this file and stream_service/kinesis.py.
boto3 reads its own variables (AWS_ENDPOINT_URL, AWS_REGION, keys).
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import msgspec
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from churn.errors import FeatureStoreError, FeatureStoreUnavailable

if TYPE_CHECKING:
    import pandas

FEATURES = "features.parquet"
QUARANTINE = "quarantine.parquet"
NEWEST = "newest.parquet"
MANIFEST = "manifest.json"
VERSION_PATTERN = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a version is. Each `sha256` is of a parquet file as stored; `newest.parquet` need not be there.

    `base_version` is the ingested version that a retraining added labelled requests of the log to; its customers are
    then known by the ids that the log has, as they are where `known_by_log`. Empty for an ingested version.
    """

    contract: str
    contract_sha256: str
    version: str
    rows: int
    churned_rows: int
    quarantined_rows: int
    sha256: str
    quarantine_sha256: str
    source: str
    source_sha256: str
    created_at: datetime
    validation: dict[str, Any]
    base_version: str = ""
    newest_sha256: str | None = None
    newest_as_of: datetime | None = None
    known_by_log: bool = False


def new_version(now: datetime, token: str) -> str:
    """A sortable version name; `token` is 8 hexadecimal digits that set apart versions of one second."""
    version = f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{token}"
    if not VERSION_PATTERN.fullmatch(version):
        raise ValueError(f"token={token!r}: expected 8 hexadecimal digits")
    return version


class FeatureStore:
    """Reads and writes versions. Safe to share between threads. Every method raises FeatureStoreError.

    A wrong name or an altered file is a FeatureStoreError; an outage is its FeatureStoreUnavailable.
    """

    def __init__(self, bucket: str, client: Any = None) -> None:
        self.bucket = bucket
        self._s3 = client if client is not None else _client(bucket)

    def ensure_bucket(self) -> None:
        """Make the bucket when it is absent."""
        with self._answering():
            try:
                self._s3.head_bucket(Bucket=self.bucket)
            except ClientError as error:
                if _code(error) not in ("404", "NoSuchBucket"):
                    raise
                region = self._s3.meta.region_name
                outside = {"CreateBucketConfiguration": {"LocationConstraint": region}}
                self._s3.create_bucket(Bucket=self.bucket, **({} if region in (None, "us-east-1") else outside))

    def versions(self, contract: str) -> list[str]:
        """The finished versions of a contract, oldest first."""
        prefix = f"features/{contract}/"
        with self._answering():
            pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
            try:
                keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
            except ClientError as error:
                if _code(error) != "NoSuchBucket":
                    raise
                keys = []
        return sorted(key[len(prefix) :].split("/")[0] for key in keys if key.endswith(f"/{MANIFEST}"))

    def latest(self, contract: str) -> str:
        """The newest version of a contract's features. Raises FeatureStoreError when there is none."""
        versions = self.versions(contract)
        if not versions:
            raise FeatureStoreError(
                f"s3://{self.bucket}/features/{contract}/ holds no version; "
                f"run 'python -m orchestration ingest --contract {contract} FILE.csv' first"
            )
        return versions[-1]

    def manifest(self, contract: str, version: str) -> Manifest:
        """What is known of a version. Raises FeatureStoreError when it is missing or cannot be read."""
        try:
            return msgspec.json.decode(self._get(contract, version, MANIFEST), type=Manifest)
        except msgspec.ValidationError as error:
            raise FeatureStoreError(f"{self.url(contract, version)}{MANIFEST} cannot be read: {error}") from error

    def read(self, contract: str, version: str) -> pandas.DataFrame:
        """`customer_id`, the contract's features as cleaned, and `churned` (bool); verified by its sha256."""
        return self._table(contract, version, FEATURES, self.manifest(contract, version).sha256)

    def newest(self, contract: str, version: str, rows: int) -> Iterator[pandas.DataFrame]:
        """What is known of the customers now, in parts of at most so many rows: `newest.parquet`, else the features."""
        import pyarrow.parquet

        manifest = self.manifest(contract, version)
        name, sha256 = (NEWEST, manifest.newest_sha256) if manifest.newest_sha256 else (FEATURES, manifest.sha256)
        payload = self._verified(contract, version, name, sha256)
        for batch in pyarrow.parquet.ParquetFile(io.BytesIO(payload)).iter_batches(batch_size=rows):
            yield batch.to_pandas()

    def quarantine(self, contract: str, version: str) -> pandas.DataFrame:
        """The rejected rows: `line` in the source, `reason`, and `row` as JSON text."""
        return self._table(contract, version, QUARANTINE, self.manifest(contract, version).quarantine_sha256)

    def write(self, manifest: Manifest, features: Path, quarantine: Path, newest: Path | None = None) -> None:
        """Upload a version, its manifest last. One that exists already is never replaced; a failed one vanishes."""
        placed: list[str] = []
        try:
            with self._answering():
                for name, path in ((FEATURES, features), (QUARANTINE, quarantine), (NEWEST, newest)):
                    if path is not None:
                        with path.open("rb") as file:
                            self._put(manifest, name, file, placed)
                self._put(manifest, MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=1), placed)
        except BaseException:
            # Best effort: without its manifest the version does not exist for any reader.
            for key in placed:
                with contextlib.suppress(BotoCoreError, ClientError):
                    self._s3.delete_object(Bucket=self.bucket, Key=key)
            raise

    def url(self, contract: str, version: str) -> str:
        """Where a version lies, as s3://BUCKET/…/, for messages and records."""
        return f"s3://{self.bucket}/{_prefix(contract, version)}"

    def _put(self, manifest: Manifest, name: str, body: Any, placed: list[str]) -> None:
        key = _prefix(manifest.contract, manifest.version) + name
        try:
            self._s3.put_object(Bucket=self.bucket, Key=key, Body=body, IfNoneMatch="*")
        except ClientError as error:
            if _code(error) in ("PreconditionFailed", "412", "ConditionalRequestConflict"):
                raise FeatureStoreError(f"s3://{self.bucket}/{key} exists already; a version is immutable") from error
            raise
        placed.append(key)

    def _table(self, contract: str, version: str, name: str, sha256: str) -> pandas.DataFrame:
        import pandas  # only rooms that train, watch or simulate pay for it

        return pandas.read_parquet(io.BytesIO(self._verified(contract, version, name, sha256)))

    def _verified(self, contract: str, version: str, name: str, sha256: str) -> bytes:
        payload = self._get(contract, version, name)
        found = hashlib.sha256(payload).hexdigest()
        if found != sha256:
            raise FeatureStoreError(
                f"{self.url(contract, version)}{name} has sha256 {found[:12]}…, its manifest says {sha256[:12]}…; "
                "it was altered: ingest again or choose another version"
            )
        return payload

    def _get(self, contract: str, version: str, name: str) -> bytes:
        with self._answering():
            try:
                key = _prefix(contract, version) + name
                return bytes(self._s3.get_object(Bucket=self.bucket, Key=key)["Body"].read())
            except ClientError as error:
                if _code(error) not in ("NoSuchKey", "NoSuchBucket", "404"):
                    raise
        known = ", ".join(self.versions(contract)[-3:]) or "none"
        raise FeatureStoreError(f"{self.url(contract, version)}{name}: not there; newest versions: {known}")

    @contextlib.contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except (BotoCoreError, ClientError) as error:
            endpoint = self._s3.meta.endpoint_url
            raise FeatureStoreUnavailable(
                f"the bucket {self.bucket} at {endpoint} cannot be used: {error}; "
                "check AWS_ENDPOINT_URL, the keys and that the server runs (beside `make up`: . .churnwatch/env)"
            ) from error


def _client(bucket: str) -> Any:
    settings: Mapping[str, Any] = {"max_attempts": 3, "mode": "standard"}
    try:
        return boto3.client("s3", config=Config(connect_timeout=5, read_timeout=60, retries=dict(settings)))
    except (BotoCoreError, ValueError) as error:
        raise FeatureStoreUnavailable(f"no client for the bucket {bucket}: {error}; check AWS_ENDPOINT_URL") from error


def _prefix(contract: str, version: str) -> str:
    return f"features/{contract}/{version}/"


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
