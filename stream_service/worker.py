"""One shard, read in batches: read, score, log, publish, and only then checkpoint. At least once, never lost.

While there is more to read, a batch's effects are carried out beside the reading and scoring of the next one; they
begin only when the effects of the batch before, its checkpoint the last of them, are done.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

import structlog

from churn.errors import StreamMissing, StreamUnavailable
from churn.metrics import StreamMetrics
from churn.store.interface import Lease, PredictionStore
from stream_service.backoff import Persistence
from stream_service.beside import Aside
from stream_service.health import ShardHealth
from stream_service.pipeline import Carrier
from stream_service.reader import ShardReader
from stream_service.records import Read, StreamRecord

log = structlog.get_logger()


class ShardWorker:
    """Carries one leased shard forward, one `step` at a time. Lives as long as its lease; used by one thread."""

    def __init__(
        self,
        *,
        reader: ShardReader,
        pipeline: Carrier,
        store: PredictionStore,
        lease: Lease,
        persistence: Persistence,
        metrics: StreamMetrics,
        health: ShardHealth,
        aside: Aside,
        batch_records: int,
        batch_seconds: float,
        poll_seconds: float,
        now: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lease = lease
        self.finished = False
        self.drained = False  # stays true: everything that was there when this worker began has been carried through
        self._began_at = now()
        self._reader = reader
        self._pipeline = pipeline
        self._store = store
        self._persistence = persistence
        self._backoff = persistence.backoff()
        self._metrics = metrics
        self._health = health
        self._aside = aside
        self._batch_records = batch_records
        self._batch_seconds = batch_seconds
        self._poll_seconds = poll_seconds
        self._now = now
        self._monotonic = monotonic
        self._batch: list[StreamRecord] = []
        self._batch_began = 0.0
        self._oldest_carried: datetime | None = None  # of the batch whose effects are under way

    def step(self) -> float:
        """Read once and, when the batch is ripe, carry it through; says in how many seconds to step again.

        Raises TooManyDeadLetters, LeaseLost or Stopped: then this worker is done, its batch not checkpointed.
        """
        if (due := self._reader.due_in_seconds()) > 0:
            return due
        try:
            read = self._reader.read(min(10_000, self._batch_records - len(self._batch)))
        except StreamMissing:
            raise
        except StreamUnavailable as error:
            self._persistence.failed("read", error)
            self._health.unreadable()
            return max(self._backoff.next_seconds(), self._reader.due_in_seconds())
        self._backoff.reset()
        self._take(read)
        if self._batch and not self._is_ripe(read):
            return self._reader.due_in_seconds()
        if self._batch or read.ended:
            self._carry_batch(read)
        at_tip = not read.records and not read.behind_milliseconds
        if at_tip or (not self.drained and read.records and read.records[-1].arrived_at >= self._began_at):
            self._aside.finish()
            self.drained = True
        self._tell_lag(read)
        return self._poll_seconds if at_tip else self._reader.due_in_seconds()

    def settle(self) -> None:
        """Finish the effects under way. Raises what they raise."""
        self._aside.finish()

    def close(self) -> None:
        """Wait until no effect is under way; this worker is not used any more."""
        self._aside.close()

    def close_shard(self) -> None:
        """The shard was split or merged."""
        self._reader.close_shard()

    def _take(self, read: Read) -> None:
        if read.records and not self._batch:
            self._batch_began = self._monotonic()
        self._batch += read.records
        shard_id = self.lease.shard_id
        self._metrics.records.labels(shard_id).inc(len(read.records))
        self._metrics.bytes.labels(shard_id).inc(sum(len(record.data) for record in read.records))
        self._tell_lag(read)

    def _is_ripe(self, read: Read) -> bool:
        return (
            read.ended
            or read.behind_milliseconds == 0
            or self._is_full()
            or self._monotonic() - self._batch_began >= self._batch_seconds
        )

    def _is_full(self) -> bool:
        return len(self._batch) >= self._batch_records

    def _carry_batch(self, read: Read) -> None:
        """Score the batch, and its effects beside what follows; at the tip of the shard there is nothing to gain."""
        more = not read.ended and (read.behind_milliseconds > 0 or self._is_full())
        batch, self._batch = self._batch, []
        carry = self._pipeline.prepare(batch) if batch else None
        last = batch[-1].sequence_number if batch else None
        self._aside.finish()
        self._oldest_carried = batch[0].arrived_at if batch else None
        self._aside.start(partial(self._effects, carry, len(batch), last, read.ended))
        if not more:
            self._aside.finish()

    def _effects(self, carry: Callable[[], None] | None, count: int, last: str | None, ended: bool) -> None:
        if carry is not None:
            self._metrics.batch.observe(count)
            carry()
        self.lease = self._persistence.until_done(
            "checkpoint", lambda: self._store.checkpoint_shard(self.lease, last, self._now(), finished=ended)
        )
        self._metrics.checkpoint.labels(self.lease.shard_id).set(self._now().timestamp())
        self._oldest_carried = None
        self._health.moved()
        if ended:
            self.finished = True
            log.info("shard_read_to_its_end", shard=self.lease.shard_id)

    def _tell_lag(self, read: Read) -> None:
        """Of records not yet read, only how far behind the read was is known."""
        oldest = self._oldest_carried or (self._batch[0].arrived_at if self._batch else None)
        if read.behind_milliseconds:
            oldest = oldest or self._now() - timedelta(milliseconds=read.behind_milliseconds)
        self._metrics.behind.labels(self.lease.shard_id).set(read.behind_milliseconds / 1000)
        self._health.waits(oldest)
