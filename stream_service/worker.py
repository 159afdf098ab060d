"""One shard, read in batches: read, score, log, publish, and only then checkpoint. At least once, never lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from churn.errors import StreamMissing, StreamUnavailable
from churn.metrics import StreamMetrics
from churn.store.interface import Lease, PredictionStore
from stream_service.backoff import Persistence
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
        self._batch_records = batch_records
        self._batch_seconds = batch_seconds
        self._poll_seconds = poll_seconds
        self._now = now
        self._monotonic = monotonic
        self._batch: list[StreamRecord] = []
        self._batch_began = 0.0

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
            self._finish_batch(read.ended)
        self._tell_lag(read)
        at_tip = not read.records and not read.behind_milliseconds
        if at_tip or (read.records and read.records[-1].arrived_at >= self._began_at):
            self.drained = True
        return self._poll_seconds if at_tip else self._reader.due_in_seconds()

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
            or len(self._batch) >= self._batch_records
            or self._monotonic() - self._batch_began >= self._batch_seconds
        )

    def _finish_batch(self, ended: bool) -> None:
        last = self._batch[-1].sequence_number if self._batch else None
        if self._batch:
            self._metrics.batch.observe(len(self._batch))
            self._pipeline.carry(self._batch)
        self.lease = self._persistence.until_done(
            "checkpoint", lambda: self._store.checkpoint_shard(self.lease, last, self._now(), finished=ended)
        )
        self._metrics.checkpoint.labels(self.lease.shard_id).set(self._now().timestamp())
        self._batch = []
        self._health.moved()
        if ended:
            self.finished = True
            log.info("shard_read_to_its_end", shard=self.lease.shard_id)

    def _tell_lag(self, read: Read) -> None:
        """Of records not yet read, only how far behind the read was is known."""
        oldest = self._batch[0].arrived_at if self._batch else None
        if read.behind_milliseconds:
            oldest = oldest or self._now() - timedelta(milliseconds=read.behind_milliseconds)
        self._metrics.behind.labels(self.lease.shard_id).set(read.behind_milliseconds / 1000)
        self._health.waits(oldest)
