"""Where answers go before they are given: a Kinesis stream that `python -m stream_service ship`, or the Lambda
`serverless.stream.ship`, brings to the prediction log, each once by its prediction_id."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

NOT_LOGGED = "none"
Keep = Callable[[Mapping[str, Any]], None]
"""Makes a record durable. Raises OSError when it could not: then its answer must not be given."""


def keep_on(stream: str, client: Any = None) -> Keep:
    """On this stream; or nowhere, where a deployment says so in so many words (`none`)."""
    if stream == NOT_LOGGED:
        return lambda record: None

    def keep(record: Mapping[str, Any]) -> None:
        nonlocal client
        from botocore.exceptions import BotoCoreError, ClientError

        from serverless.aws import connect

        data = json.dumps(record, separators=(",", ":")).encode()
        try:
            client = client or connect("kinesis")
            client.put_record(StreamName=stream, PartitionKey=record["prediction_id"], Data=data)
        except (BotoCoreError, ClientError) as error:
            raise OSError(f"stream {stream}: {error}") from error

    return keep
