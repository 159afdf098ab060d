"""The Lambda handler behind API Gateway: an event of an HTTP API (2.0) or a REST API (1.0) -> a prediction.

Set ARTIFACT to s3://BUCKET/KEY or a path, and CORS_ORIGIN to let pages of that origin ask. boto3, which Lambda's
runtime holds, is imported only to fetch from S3. Nothing is logged about a customer.
"""

from __future__ import annotations

import base64
import binascii
import functools
import json
import os
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from serverless.score import Artifact, ArtifactError, InvalidRecord, shown

RECHECK_SECONDS = 60.0
BODY_LIMIT_BYTES = 1_000_000
ROUTE = "/predict"
TITLES = {
    400: "The body is not JSON",
    404: "There is nothing here",
    405: "The method does not fit the route",
    413: "The body is too large",
    422: "Some fields are wrong",
    503: "The model cannot be loaded",
}
Fetch = Callable[[str | None], tuple[bytes, str] | None]
"""Given the ETag at hand: the artifact's bytes and their ETag, or None when it is the same still."""
Answer = dict[str, Any]


class Problem(Exception):
    """An answer that says what was wrong."""

    def __init__(self, status: int, detail: str, errors: list[dict[str, Any]] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.document = {
            "type": "about:blank",
            "title": TITLES[status],
            "status": status,
            "detail": detail,
            **({"errors": errors} if errors else {}),
        }


class Warm:
    """The artifact at hand, asked for anew at most once a minute. A new one that is no good leaves the old in place."""

    def __init__(self, fetch: Fetch, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._artifact: Artifact | None = None
        self._etag: str | None = None
        self._checked_at = 0.0

    def artifact(self) -> Artifact:
        """Raises Problem (503) when there is none yet and none can be loaded."""
        if self._artifact is None or self._clock() - self._checked_at >= RECHECK_SECONDS:
            self._check()
            self._checked_at = self._clock()
        if self._artifact is None:
            raise Problem(503, "no model could be loaded; try again in a minute")
        return self._artifact

    def _check(self) -> None:
        try:
            found = self._fetch(self._etag)
            if found is not None:
                raw, etag = found
                self._artifact, self._etag = Artifact(raw), etag
                log("model_loaded", model_run_id=self._artifact.run_id, bytes=len(raw))
        except (ArtifactError, OSError, KeyError, TypeError, ValueError) as error:
            log("model_not_loaded", reason=str(error), serving=self._artifact.run_id if self._artifact else None)


def handle(event: Mapping[str, Any], context: object = None) -> Answer:
    """The entry of the Lambda function."""
    warm, origin = _of_environment()
    return respond(event, warm, origin)


def respond(event: Mapping[str, Any], warm: Warm, cors_origin: str | None = None) -> Answer:
    """Answer one event; never raises for what a sender did."""
    started = time.perf_counter()
    run_id = None
    try:
        method, path = _method_and_path(event)
        if method == "OPTIONS":
            return _response(204, None, cors_origin)
        if not path.rstrip("/").endswith(ROUTE):
            raise Problem(404, f"{shown(path)}: expected {ROUTE}")
        if method != "POST":
            raise Problem(405, f"{method}: expected POST")
        record = _record(event)
        artifact = warm.artifact()
        run_id = artifact.run_id
        response = _response(200, _predict(artifact, record), cors_origin)
    except Problem as problem:
        response = _response(problem.status, problem.document, cors_origin)
    seconds = round(time.perf_counter() - started, 6)
    log("answered", status=response["statusCode"], seconds=seconds, model_run_id=run_id)
    return response


def log(event: str, **facts: Any) -> None:
    """One line of JSON, for CloudWatch."""
    line = {"event": event, "timestamp": datetime.now(UTC).isoformat(), **facts}
    print(json.dumps(line), file=sys.stdout, flush=True)


def _predict(artifact: Artifact, record: Mapping[str, Any]) -> dict[str, Any]:
    try:
        answer = artifact.answer(record)
    except InvalidRecord as error:
        errors = [{"field": name, "value": shown(value), "expected": words} for name, value, words in error.problems]
        raise Problem(422, str(error), errors) from error
    created_at = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return {"prediction_id": uuid.uuid4().hex, "created_at": created_at, **answer}


def _method_and_path(event: Mapping[str, Any]) -> tuple[str, str]:
    if event.get("version") == "2.0":
        http = event["requestContext"]["http"]
        return str(http["method"]), str(event.get("rawPath", ""))
    return str(event.get("httpMethod", "")), str(event.get("path", ""))


def _record(event: Mapping[str, Any]) -> Mapping[str, Any]:
    body = event.get("body") or ""
    if len(body) > BODY_LIMIT_BYTES:
        raise Problem(413, f"{len(body)} characters: expected at most {BODY_LIMIT_BYTES}")
    try:
        raw = base64.b64decode(body, validate=True) if event.get("isBase64Encoded") else body
        record = json.loads(raw, parse_constant=_no_constant)
    except (binascii.Error, ValueError, RecursionError) as error:
        raise Problem(400, f"{error}; send one JSON object of fields") from error
    if not isinstance(record, dict):
        raise Problem(422, f"expected one object of fields, got {shown(record)}")
    return record


def _no_constant(word: str) -> float:
    raise ValueError(f"{word} is no JSON")


def _response(status: int, document: Mapping[str, Any] | None, cors_origin: str | None) -> Answer:
    media_type = "application/json" if status < 400 else "application/problem+json"
    headers = {"content-type": media_type, "cache-control": "no-store"}
    if status == 503:
        headers["retry-after"] = "60"
    if cors_origin:
        headers |= {
            "access-control-allow-origin": cors_origin,
            "access-control-allow-methods": "POST, OPTIONS",
            "access-control-allow-headers": "content-type, x-api-key",
            "vary": "origin",
        }
    body = "" if document is None else json.dumps(document, ensure_ascii=False)
    return {"statusCode": status, "headers": headers, "body": body, "isBase64Encoded": False}


@functools.cache
def _of_environment() -> tuple[Warm, str | None]:
    where = os.environ.get("ARTIFACT", "")
    if not where:
        raise ValueError("ARTIFACT=: expected s3://BUCKET/KEY or the path of an exported model")
    fetch = from_s3(where) if where.startswith("s3://") else from_file(Path(where))
    return Warm(fetch), os.environ.get("CORS_ORIGIN") or None


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
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError

        client = client or boto3.client("s3")
        try:
            found = client.get_object(Bucket=bucket, Key=key, **({"IfNoneMatch": etag} if etag else {}))
            return found["Body"].read(), found["ETag"]
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 304:
                return None
            raise OSError(f"{where}: {error}") from error
        except BotoCoreError as error:
            raise OSError(f"{where}: {error}") from error

    return fetch
