"""Objects of S3 buckets as files, and back. boto3 has another home here, beside churn/feature_store.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import boto3
import orjson
from botocore.exceptions import BotoCoreError, ClientError

from backup.manifest import Part
from backup.parts import Keeper
from churn.errors import BackupError

KEYS = "keys.json"
T = TypeVar("T")


def bucket(name: str) -> Keeper:
    """All objects of a bucket, in their newest versions: numbered files, and their keys in a list beside them."""
    return Keeper(
        f"bucket-{name}",
        f"s3://{name}",
        lambda folder: Part(f"bucket-{name}", "s3", {"objects": _called(lambda: _save(name, folder))}),
        lambda: not _called(lambda: _keys(name)),
        lambda folder, _: {"objects": _called(lambda: _load(name, folder))},
    )


def _keys(name: str) -> list[str]:
    """None of a bucket that is not there."""
    client = _client()
    if name not in {found["Name"] for found in client.list_buckets().get("Buckets", ())}:
        return []
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=name)
    return [found["Key"] for page in pages for found in page.get("Contents", ())]


def _save(name: str, folder: Path) -> int:
    folder.mkdir(parents=True)
    client, keys = _client(), _keys(name)
    for number, key in enumerate(keys):
        client.download_file(name, key, str(folder / str(number)))
    (folder / KEYS).write_bytes(orjson.dumps(keys))
    return len(keys)


def _load(name: str, folder: Path) -> int:
    client, keys = _client(), orjson.loads((folder / KEYS).read_bytes())
    if name not in {found["Name"] for found in client.list_buckets().get("Buckets", ())}:
        client.create_bucket(Bucket=name)
    for number, key in enumerate(keys):
        client.upload_file(str(folder / str(number)), name, key)
    return len(keys)


def _client() -> Any:
    return boto3.client("s3")


def _called(call: Callable[[], T]) -> T:
    try:
        return call()
    except (BotoCoreError, ClientError) as error:
        raise BackupError(f"S3 refused, or cannot be reached: {error}") from error
