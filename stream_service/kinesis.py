"""Kinesis by boto3, and nothing of it elsewhere: shards, iterators, reads, puts, and its errors by name.

Retries are the caller's: botocore's own are off, so that back-off is jittered in one place, counted, and stoppable.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

from churn.errors import SettingError, StreamMissing, StreamUnavailable
from stream_service.records import Entry, Position, Read, Shard, StreamRecord, Unsent
from stream_service.wire import quicken

PUT_RECORDS = 500
PUT_BYTES = 4_000_000  # AWS takes 5 MiB a call; the rest is for names and base64 of small records
READ_RECORDS = 10_000
THROTTLED = {
    "ProvisionedThroughputExceededException",
    "LimitExceededException",
    "ThrottlingException",
    "Throttling",
    "KMSThrottlingException",
    "RequestLimitExceeded",
}
CREDENTIALS = {
    "AccessDeniedException",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationTokenException",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}


class IteratorExpired(Exception):
    """An iterator older than five minutes. The reader asks for another at the same place."""


def connect(connections: int = 50) -> Any:
    """A Kinesis client from boto3's own variables. Raises SettingError when they name no region."""
    session = boto3.Session()
    if not session.region_name:
        raise SettingError("AWS_DEFAULT_REGION", "", "the region of the streams, such as eu-central-1")
    config = Config(
        retries={"total_max_attempts": 1}, connect_timeout=3, read_timeout=15, max_pool_connections=connections
    )
    return quicken(session.client("kinesis", config=config))


class Kinesis:
    """Streams by name. Safe to share between threads. Every failure is a StreamUnavailable with a cause."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def ensure(self, stream: str, shards: int, pause: Callable[[float], None] = time.sleep) -> None:
        """Make the stream when it is absent (shards=0: raise StreamMissing instead) and wait until it is active."""
        try:
            status = self._summary(stream)["StreamStatus"]
        except StreamMissing:
            if shards == 0:
                raise
            self._create(stream, shards)
            status = self._summary(stream)["StreamStatus"]
        while status == "CREATING":
            pause(0.1)
            status = self._summary(stream)["StreamStatus"]

    def identity(self, stream: str) -> str:
        """The stream's name and birth. A stream deleted and made again starts its sequence numbers anew, so
        checkpoints of its former life must not count."""
        return f"{stream}@{int(self._summary(stream)['StreamCreationTimestamp'].timestamp())}"

    def shards(self, stream: str) -> list[Shard]:
        """Every shard that still holds records, closed ones too."""
        found: list[Shard] = []
        page: dict[str, Any] = {"StreamName": stream}
        while page:
            answer = self._call("list_shards", stream, **page)
            found.extend(_shard(entry) for entry in answer["Shards"])
            page = {"NextToken": answer["NextToken"]} if answer.get("NextToken") else {}
        return found

    def iterator(self, stream: str, shard_id: str, position: Position) -> str:
        where: dict[str, Any] = {"ShardIteratorType": "TRIM_HORIZON"}
        if position.after is not None:
            where = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": position.after}
        elif position.at_time is not None:
            where = {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": position.at_time}
        answer = self._call("get_shard_iterator", stream, StreamName=stream, ShardId=shard_id, **where)
        return str(answer["ShardIterator"])

    def read(self, stream: str, shard_id: str, iterator: str, limit: int = READ_RECORDS) -> Read:
        """One GetRecords. Raises IteratorExpired as well."""
        answer = self._call("get_records", stream, ShardIterator=iterator, Limit=limit)
        records = [
            StreamRecord(
                shard_id,
                entry["SequenceNumber"],
                entry["PartitionKey"],
                entry["Data"],
                entry["ApproximateArrivalTimestamp"],
            )
            for entry in answer["Records"]
        ]
        return Read(records, answer.get("NextShardIterator"), int(answer.get("MillisBehindLatest") or 0))

    def put(self, stream: str, entries: Iterable[Entry]) -> Unsent:
        """Try each entry once, in groups. What comes back was not taken and is to be tried again."""
        unsent: list[Entry] = []
        cause = detail = ""
        for group in _groups(entries):
            try:
                answer = self._call("put_records", stream, StreamName=stream, Records=[_put_entry(e) for e in group])
            except StreamUnavailable as error:
                unsent, cause, detail = unsent + group, error.cause, str(error)
                continue
            for entry, outcome in zip(group, answer["Records"], strict=True):
                if code := outcome.get("ErrorCode"):
                    unsent.append(entry)
                    cause = "throttled" if code in THROTTLED else "server"
                    detail = f"{code}: {outcome.get('ErrorMessage', '')}"
        return Unsent(unsent, cause, detail)

    def _create(self, stream: str, shards: int) -> None:
        try:
            self._call("create_stream", stream, StreamName=stream, ShardCount=shards)
        except StreamUnavailable as error:
            if error.cause != "exists":  # another worker made it in the meantime
                raise

    def _summary(self, stream: str) -> dict[str, Any]:
        answer = self._call("describe_stream_summary", stream, StreamName=stream)
        return answer["StreamDescriptionSummary"]  # type: ignore[no-any-return]

    def _call(self, operation: str, stream: str, **arguments: Any) -> dict[str, Any]:
        try:
            return getattr(self._client, operation)(**arguments)  # type: ignore[no-any-return]
        except (ClientError, BotoCoreError) as error:
            raise _translated(operation, stream, error) from error


def _translated(operation: str, stream: str, error: ClientError | BotoCoreError) -> Exception:
    action = f"{operation} on stream {stream}"
    if isinstance(error, (NoCredentialsError, PartialCredentialsError)):
        return StreamUnavailable(action, "credentials", "no AWS credentials; set AWS_ACCESS_KEY_ID and its secret")
    if isinstance(error, BotoCoreError):
        return StreamUnavailable(action, "connection", f"{error}; is AWS_ENDPOINT_URL right and the service up?")
    code = error.response.get("Error", {}).get("Code", "")
    message = error.response.get("Error", {}).get("Message", "")
    if code == "ExpiredIteratorException":
        return IteratorExpired(stream)
    if code == "ResourceNotFoundException":
        return StreamMissing(action, "missing", message or "there is no such stream or shard")
    causes = (("throttled", THROTTLED), ("credentials", CREDENTIALS), ("exists", {"ResourceInUseException"}))
    cause = next((name for name, codes in causes if code in codes), "server")
    return StreamUnavailable(action, cause, f"{code}: {message}")


def _shard(entry: dict[str, Any]) -> Shard:
    parents = (entry.get("ParentShardId"), entry.get("AdjacentParentShardId"))
    closed = entry.get("SequenceNumberRange", {}).get("EndingSequenceNumber") is not None
    return Shard(entry["ShardId"], tuple(parent for parent in parents if parent), closed)


def _put_entry(entry: Entry) -> dict[str, Any]:
    return {"Data": entry.data, "PartitionKey": entry.partition_key}


def _groups(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    group: list[Entry] = []
    size = 0
    for entry in entries:
        length = len(entry.data) + len(entry.partition_key)
        if group and (len(group) == PUT_RECORDS or size + length > PUT_BYTES):
            yield group
            group, size = [], 0
        group.append(entry)
        size += length
    if group:
        yield group
