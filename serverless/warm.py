"""The artifact that a warm function holds, from a file or from S3; a new one is picked up within a minute.

boto3, which Lambda's runtime holds, is imported only to fetch from S3.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from serverless.lines import log
from serverless.score import Artifact, ArtifactError

RECHECK_SECONDS = 60.0
Fetch = Callable[[str | None], tuple[bytes, str] | None]
"""Given the ETag at hand: the artifact's bytes and their ETag, or None when it is the same still."""


class Warm:
    """The artifact at hand, asked for anew at most once a minute. A new one that is no good leaves the old in place."""

    def __init__(self, fetch: Fetch, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._artifact: Artifact | None = None
        self._etag: str | None = None
        self._checked_at = 0.0

    def artifact(self) -> Artifact | None:
        """None when there is none yet and none can be loaded; then the next call tries again."""
        if self._artifact is None or self._clock() - self._checked_at >= RECHECK_SECONDS:
            self._check()
            self._checked_at = self._clock()
        return self._artifact

    def _check(self) -> None:
        try:
            found = self._fetch(self._etag)
            if found is not None:
                raw, etag = found
                self._artifact, self._etag = Artifact(raw), etag
                log("model_loaded", model_run_id=self._artifact.run_id, bytes=len(raw))
        except (ArtifactError, OSError) as error:
            log("model_not_loaded", reason=str(error), serving=self._artifact.run_id if self._artifact else None)


def fetch_from(where: str) -> Fetch:
    """s3://BUCKET/KEY, or a path."""
    return from_s3(where) if where.startswith("s3://") else from_file(Path(where))


def from_file(path: Path) -> Fetch:
    """A file beside the code; its time and size stand for an ETag."""

    def fetch(etag: str | None) -> tuple[bytes, str] | None:
        status = path.stat()
        found = f"{status.st_mtime_ns}-{status.st_size}"
        return None if found == etag else (path.read_bytes(), found)

    return fetch


def from_s3(where: str, client: Any = None) -> Fetch:
    """An object of S3, fetched only when its ETag is another. Raises OSError when S3 does not give it."""
    bucket, _, key = where.removeprefix("s3://").partition("/")

    def fetch(etag: str | None) -> tuple[bytes, str] | None:
        nonlocal client
        from botocore.exceptions import BotoCoreError, ClientError

        from serverless.aws import connect

        try:
            client = client or connect("s3")
            found = client.get_object(Bucket=bucket, Key=key, **({"IfNoneMatch": etag} if etag else {}))
            return found["Body"].read(), found["ETag"]
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 304:
                return None
            raise OSError(f"{where}: {error}") from error
        except BotoCoreError as error:
            raise OSError(f"{where}: {error}") from error

    return fetch
