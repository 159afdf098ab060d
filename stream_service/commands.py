"""What an operator may ask beside running it: status, dead letters, a span once more. None touches a checkpoint."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from churn.errors import StreamUnavailable
from churn.raw_records import Refusal
from churn.scoring import Scorer
from churn.settings import StreamSettings
from churn.store.interface import PredictionStore
from stream_service.backoff import StopSignal
from stream_service.dead_letters import DeadLetter, collect
from stream_service.kinesis import Kinesis
from stream_service.parts import Parts
from stream_service.pipeline import score_batch
from stream_service.reader import ShardReader
from stream_service.records import Entry, Position, Shard, StreamRecord
from stream_service.service import kept_position

PUT_TRIES = 8


def status(kinesis: Kinesis, store: PredictionStore, stream: str, consumer: str, now: datetime) -> list[dict[str, Any]]:
    """One row a shard: who owns it, how far it is, and how old the oldest record is that it has not answered."""
    states = {state.shard_id: state for state in store.shards(consumer)}
    start = kept_position(store, consumer)
    rows = []
    for shard in kinesis.shards(stream):
        state = states.get(shard.shard_id)
        after = state.sequence_number if state else None
        finished = bool(state and state.finished)
        owned = state is not None and state.expires_at is not None and state.expires_at > now
        rows.append(
            {
                "shard": shard.shard_id,
                "state": "finished" if finished else "closed" if shard.closed else "open",
                "owner": state.owner if state and owned else None,
                "lag_seconds": 0.0
                if finished
                else _lag_seconds(kinesis, stream, shard, Position(after) if after else start, now),
                "checkpointed_at": state.checkpointed_at if state else None,
                "sequence_number": after,
            }
        )
    return rows


def dead_letters(kinesis: Kinesis, stream: str, reason: str | None, identity: str | None) -> Iterator[DeadLetter]:
    """Letters kept on the stream, oldest first in each shard, by reason or id where given."""
    found = collect(record for shard in kinesis.shards(stream) for record in records_of(kinesis, stream, shard))
    for letter in found:
        if reason in (None, letter.document["reason"]) and identity in (None, letter.identity):
            yield letter


def replay_dead_letters(
    kinesis: Kinesis, store: PredictionStore, letters: Iterable[DeadLetter], again: bool, now: datetime
) -> int:
    """Put letters back on the stream that they came from; each once ever, unless `again`. Says how many.

    Noted as replayed only once the stream has taken them: a crash between the two replays a letter twice, never not.
    """
    count = 0
    for letter in letters:
        if not again and store.document("dead-letter-replayed", letter.identity) is not None:
            continue
        put(kinesis, str(letter.document["stream"]), [Entry(letter.partition_key, letter.data)])
        note = {"replayed_at": now.isoformat(), "reason": letter.document["reason"]}
        store.put_document("dead-letter-replayed", letter.identity, note, replace=True)
        count += 1
    return count


def put(kinesis: Kinesis, stream: str, entries: list[Entry], pause: Callable[[float], None] = time.sleep) -> None:
    """Put all, trying again what is refused. Raises StreamUnavailable after several tries."""
    for attempt in range(PUT_TRIES):
        unsent = kinesis.put(stream, entries)
        entries = unsent.entries
        if not entries:
            return
        pause(0.1 * 2**attempt)
    raise StreamUnavailable(f"put_records on stream {stream}", unsent.cause, unsent.detail)


def span(kinesis: Kinesis, stream: str, start: datetime, end: datetime) -> Iterator[list[StreamRecord]]:
    """Batches of the records that arrived in the span, start included, end not; parents before children."""
    for shard in sorted(kinesis.shards(stream), key=lambda shard: shard.shard_id):
        for batch in _batches(kinesis, stream, shard, Position(at_time=start)):
            within = [record for record in batch if record.arrived_at < end]
            if within:
                yield within
            if len(within) < len(batch):
                break


def carry_span(settings: StreamSettings, parts: Parts, batches: Iterable[Sequence[StreamRecord]]) -> Counter[str]:
    """Log and publish a span once more: what was logged before repeats its answer, nothing is logged twice."""
    pipeline = parts.pipeline(settings, parts.limit(settings), parts.persistence(StopSignal().pause))
    tally: Counter[str] = Counter()
    for batch in batches:
        pipeline.prepare(batch)()
        tally["records"] += len(batch)
    return tally


def rehearse(
    scorer: Scorer, stream: str, batches: Iterable[Sequence[StreamRecord]], longest_bytes: int
) -> Counter[str]:
    """Score without any effect; counts by outcome."""
    tally: Counter[str] = Counter()
    for batch in batches:
        for _, outcome in score_batch(scorer, stream, batch, longest_bytes):
            tally[outcome.reason if isinstance(outcome, Refusal) else "answered"] += 1
    return tally


def records_of(kinesis: Kinesis, stream: str, shard: Shard) -> Iterator[StreamRecord]:
    """Every record of a shard up to its present tip."""
    for batch in _batches(kinesis, stream, shard, Position()):
        yield from batch


def _batches(kinesis: Kinesis, stream: str, shard: Shard, position: Position) -> Iterator[list[StreamRecord]]:
    reader = ShardReader(kinesis, stream, shard, position)
    while True:
        time.sleep(reader.due_in_seconds())
        read = reader.read()
        if read.records:
            yield read.records
        if read.ended or not (read.records or read.behind_milliseconds):
            return


def _lag_seconds(kinesis: Kinesis, stream: str, shard: Shard, position: Position, now: datetime) -> float:
    """By looking at the next record itself, since not every service says truly how far behind a reader is."""
    read = kinesis.read(stream, shard.shard_id, kinesis.iterator(stream, shard.shard_id, position), 1)
    if read.records:
        return max(0.0, (now - read.records[0].arrived_at).total_seconds())
    return read.behind_milliseconds / 1000
