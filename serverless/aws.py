"""boto3's clients as these functions want them, imported when asked for: quick to give up, since a caller waits."""

from __future__ import annotations

from typing import Any

CONNECT_SECONDS = 2
READ_SECONDS = 5
TRIES = 3


def connect(service: str, read_seconds: float = READ_SECONDS) -> Any:
    """A client from boto3's own variables."""
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=read_seconds,
        retries={"mode": "standard", "total_max_attempts": TRIES},
    )
    return boto3.client(service, config=config)
