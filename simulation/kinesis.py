"""The sender over Kinesis, and the reader of the results: counts that can be held against the prediction log."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import boto3
import orjson
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoRegionError

from churn.errors import SettingError
from churn.prediction import derived_id
from simulation.senders import Pace, SendError, Sent, groups, pauses
from simulation.traffic import Event, Receipt

PUT_LIMIT = 500
READ_PAUSE_SECONDS = 0.21
"""A shard allows five reads a second, the stream service's own among them only when it reads the same stream."""
PACED_SECONDS = 0.2
"""At a given rate, the events of so many seconds go in one call."""
FINAL = ("ResourceNotFoundException", "ValidationException", "AccessDeniedException", "UnrecognizedClientException")
EXPIRED = "ExpiredIteratorException"


def connect() -> Any:
    """A Kinesis client from boto3's own variables. Raises SettingError when they name no region."""
    retries = {"total_max_attempts": 1}  # tried again by us: only what failed, counted
    try:
        return boto3.client("kinesis", config=Config(retries=retries, connect_timeout=5, read_timeout=30))
    except NoRegionError:
        raise SettingError("AWS_DEFAULT_REGION", "", "the region of the streams, such as eu-central-1") from None


def send_kinesis(
    events: Iterable[Event],
    client: Any,
    stream: str,
    *,
    contract: str,
    rate: float = 0.0,
    group: int = PUT_LIMIT,
    retry_seconds: float = 30.0,
    on_receipt: Callable[[Receipt], None] | None = None,
    stop: threading.Event | None = None,
    keep_ids: bool = True,
) -> Sent:
    """Put every event on the stream, up to `group` a call, by customer id; only failed entries are put again.

    The prediction ids are those that the stream service will derive from the event ids. What fails for
    `retry_seconds` counts as failed, and the rest is not sent. Setting `stop` ends the run early;
    without `keep_ids` a run without end needs no more memory with time. Raises SendError when the stream is not there.
    """
    sent = Sent("stream")
    started = time.monotonic()
    stop = stop or threading.Event()
    pace = Pace(rate, sleep=stop.wait)
    size = max(1, min(group, PUT_LIMIT, int(rate * PACED_SECONDS) or 1 if rate > 0 else group))
    for part in groups(events, size):
        pace.wait(sent.sent)
        if stop.is_set():
            break
        sent.sent += len(part)
        sent_at = datetime.now(UTC)
        waiting = _put(part, client, stream, sent, retry_seconds)
        lost = {event.index for event in waiting}
        for event in part:
            identity = None if event.index in lost else derived_id("event", contract, event.event_id)
            if identity is not None and keep_ids:
                sent.prediction_ids[event.event_id] = identity
            if on_receipt is not None:
                on_receipt(Receipt(event, "stream", sent_at, identity))
        sent.answered += len(part) - len(waiting)
        sent.failed += len(waiting)
        if waiting:
            break
    sent.seconds = time.monotonic() - started
    return sent


def _put(part: list[Event], client: Any, stream: str, sent: Sent, retry_seconds: float) -> list[Event]:
    """Put a group until all are taken; returns those that were not in time."""
    waiting = part
    deadline = time.monotonic() + retry_seconds
    for pause in pauses():
        entries = [
            {"Data": orjson.dumps(event.fields()), "PartitionKey": event.customer.customer_id} for event in waiting
        ]
        try:
            results = client.put_records(StreamName=stream, Records=entries)["Records"]
        except (ClientError, BotoCoreError) as error:
            if _code(error) in FINAL:
                raise SendError(f"nothing can be put on the stream {stream}: {error}") from error
            sent.note(f"{stream}: {error}")
        else:
            refused = [result for result in results if result.get("ErrorCode")]
            waiting = [event for event, result in zip(waiting, results, strict=True) if result.get("ErrorCode")]
            for result in refused[:1]:
                sent.note(f"{stream}: {result['ErrorCode']}: {result.get('ErrorMessage', '')}")
        if not waiting or time.monotonic() + pause > deadline:
            break
        sent.retries += 1
        time.sleep(pause)
    return waiting


@dataclass(slots=True)
class Results:
    """Answers found on the results stream, by event id. `repeats` are further records of an event already answered;
    `conflicts` those among them with another prediction id, which must never be."""

    prediction_ids: dict[str, str] = field(default_factory=dict)
    repeats: int = 0
    conflicts: int = 0
    missing: int = 0
    seconds: float = 0.0

    def take(self, document: dict[str, Any], wanted: set[str]) -> None:
        event_id = document.get("event_id")
        if event_id not in wanted:
            return
        if event_id in self.prediction_ids:
            self.repeats += 1
            self.conflicts += self.prediction_ids[event_id] != document["prediction_id"]
        else:
            self.prediction_ids[event_id] = document["prediction_id"]


@dataclass(slots=True)
class _Cursor:
    shard_id: str
    iterator: str | None
    sequence_number: str | None = None


def read_results(
    client: Any,
    stream: str,
    event_ids: Collection[str],
    *,
    timeout_seconds: float = 60.0,
    since: datetime | None = None,
) -> Results:
    """Read the results stream from its beginning, or from `since`, until each event has an answer or time is up.

    Every shard is read, those that a split or a merge adds too. Raises SendError when the stream is not there.
    """
    results, wanted = Results(), set(event_ids)
    started = time.monotonic()
    cursors: dict[str, _Cursor] = {}
    while len(results.prediction_ids) < len(wanted) and time.monotonic() - started < timeout_seconds:
        turn = time.monotonic()
        try:
            _find_shards(client, stream, cursors, since)
            for cursor in cursors.values():
                _read_shard(client, stream, cursor, wanted, results)
        except (ClientError, BotoCoreError) as error:
            if _code(error) in FINAL:
                raise SendError(f"the stream {stream} cannot be read: {error}") from error
        time.sleep(max(0.0, turn + READ_PAUSE_SECONDS - time.monotonic()))
    results.missing = len(wanted) - len(results.prediction_ids)
    results.seconds = time.monotonic() - started
    return results


def _find_shards(client: Any, stream: str, cursors: dict[str, _Cursor], since: datetime | None) -> None:
    if cursors and all(cursor.iterator for cursor in cursors.values()):
        return  # new shards appear only when one of these ends
    page: dict[str, Any] = {"StreamName": stream}
    while page:
        answer = client.list_shards(**page)
        for shard in answer["Shards"]:
            shard_id = shard["ShardId"]
            if shard_id not in cursors:
                start = {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": since} if since else _trim_horizon()
                cursors[shard_id] = _Cursor(shard_id, _iterator(client, stream, shard_id, start))
        page = {"NextToken": answer["NextToken"]} if answer.get("NextToken") else {}


def _read_shard(client: Any, stream: str, cursor: _Cursor, wanted: set[str], results: Results) -> None:
    if cursor.iterator is None:
        return
    try:
        answer = client.get_records(ShardIterator=cursor.iterator, Limit=10_000)
    except ClientError as error:
        if _code(error) != EXPIRED:
            raise
        after = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": cursor.sequence_number}
        start = after if cursor.sequence_number else _trim_horizon()
        cursor.iterator = _iterator(client, stream, cursor.shard_id, start)
        return
    for record in answer["Records"]:
        cursor.sequence_number = record["SequenceNumber"]
        results.take(orjson.loads(record["Data"]), wanted)
    cursor.iterator = answer.get("NextShardIterator")


def _iterator(client: Any, stream: str, shard_id: str, start: dict[str, Any]) -> str:
    return str(client.get_shard_iterator(StreamName=stream, ShardId=shard_id, **start)["ShardIterator"])


def _trim_horizon() -> dict[str, Any]:
    return {"ShardIteratorType": "TRIM_HORIZON"}


def _code(error: Exception) -> str:
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""
