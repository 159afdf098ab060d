"""Reports in an S3 bucket instead of a folder, under the same names. boto3 has another home here.

A report's page is put last, so that one without it was not finished; the index follows. Nobody reads the bucket by
itself: serve it through whatever checks who asks, such as CloudFront with an origin access control.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from churn.errors import ReportError, SettingError
from reporting.document import Report, from_json
from reporting.shelf import PAGE, TWIN, report_path, safe_name
from reporting.window import Window

SCHEME = "s3://"
KINDS = {".html": "text/html; charset=utf-8", ".json": "application/json"}
AT_ONCE = 1_000
"""Most objects of one call that deletes."""


class BucketShelf:
    """Reports under a prefix of a bucket. Several processes may write to it at once; use from one thread."""

    def __init__(self, url: str, client: Any = None) -> None:
        self.url = url.rstrip("/")
        self._bucket, _, prefix = self.url.removeprefix(SCHEME).partition("/")
        if not self.url.startswith(SCHEME) or not self._bucket:
            raise SettingError("REPORTS_URL", url, "s3://BUCKET or s3://BUCKET/PREFIX")
        self._prefix = f"{prefix}/" if prefix else ""
        retries: Any = {"max_attempts": 4, "mode": "standard"}
        self._client = client or boto3.client("s3", config=Config(connect_timeout=5, read_timeout=60, retries=retries))
        self._read: dict[str, tuple[str, Report | None]] = {}

    def address(self, name: str) -> str:
        return f"{self.url}/{name}"

    def path(self, contract: str, window: Window, run: str) -> str:
        return report_path(contract, window, run)

    def holds(self, path: str) -> bool:
        return self._is_there(f"{path}/{PAGE}")

    def has_index(self) -> bool:
        return self._is_there(PAGE)

    @contextmanager
    def workplace(self) -> Iterator[Path]:
        """A folder of this machine to make a report in."""
        with tempfile.TemporaryDirectory(prefix="churnwatch-report-") as name:
            yield Path(name)

    def publish(self, made: Path, path: str) -> None:
        """Put a finished workplace's files, the page last, and remove what an older report had besides."""
        names = sorted((file.name for file in made.iterdir()), key=lambda name: (name == PAGE, name))
        for name in names:
            self.write(f"{path}/{name}", (made / name).read_bytes())
        kept = {f"{path}/{name}" for name in names}
        self._delete([key for key, _ in self._keys(f"{path}/") if key not in kept])

    def write(self, name: str, content: bytes) -> None:
        kind = KINDS.get(Path(name).suffix, "application/octet-stream")
        key = self._prefix + name
        with self._translated():
            self._client.put_object(
                Bucket=self._bucket, Key=key, Body=content, ContentType=kind, CacheControl="no-cache"
            )

    def reports(self, contract: str | None = None) -> Iterator[tuple[str, Report]]:
        """As the folder's: newest window first. A twin is fetched once, and again when it has changed."""
        listed = self._keys(f"{safe_name(contract)}/" if contract else "")
        twins = {key: tag for key, tag in listed if key.endswith(f"/{TWIN}") and key.count("/") == 3}
        for key in sorted(twins, key=lambda key: key.split("/")[1:], reverse=True):
            report = self._twin(key, twins[key])
            if report is not None:
                yield key.removesuffix(f"/{TWIN}"), report

    def purge(self, before: datetime) -> list[str]:
        """Remove the reports whose window ended before; says which."""
        gone = [path for path, report in self.reports() if report.end < before]
        for path in gone:
            self._delete([key for key, _ in self._keys(f"{path}/")])
        return gone

    def _twin(self, key: str, tag: str) -> Report | None:
        if key not in self._read or self._read[key][0] != tag:
            with self._translated():
                body = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)["Body"].read()
            try:
                self._read[key] = tag, from_json(body)
            except ReportError:
                self._read[key] = tag, None  # of another version: its page can still be opened by its address
        return self._read[key][1]

    def _keys(self, prefix: str) -> list[tuple[str, str]]:
        """(key below our prefix, its content's tag)."""
        with self._translated():
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + prefix
            )
            found = [one for page in pages for one in page.get("Contents", ())]
        return [(one["Key"].removeprefix(self._prefix), one["ETag"]) for one in found]

    def _is_there(self, name: str) -> bool:
        return any(key == name for key, _ in self._keys(name))

    def _delete(self, keys: list[str]) -> None:
        for at in range(0, len(keys), AT_ONCE):
            objects = [{"Key": self._prefix + key} for key in keys[at : at + AT_ONCE]]
            with self._translated():
                self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": objects, "Quiet": True})

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (BotoCoreError, ClientError) as error:
            raise ReportError(f"REPORTS_URL={self.url}: S3 refused, or cannot be reached: {error}") from error
