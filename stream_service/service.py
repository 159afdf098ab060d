"""The service around the shards: keeps leases, starts and ends a worker a shard, recovers, and stops in good order."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from churn.errors import LeaseLost, SettingError, StoreUnavailable, StreamMissing, StreamUnavailable, TooManyDeadLetters
from churn.settings import StreamSettings
from churn.store.interface import Lease, PredictionStore
from stream_service.backoff import Stopped, StopSignal
from stream_service.beside import Beside
from stream_service.kinesis import Kinesis
from stream_service.leases import Leases, readable
from stream_service.parts import Parts, streams
from stream_service.reader import ShardReader
from stream_service.records import Position, Shard
from stream_service.worker import ShardWorker

log = structlog.get_logger()
GRACE_SECONDS = 10.0
"""How long a batch in hand may still take after SIGTERM; service managers kill after 10 to 30 s."""
LONGEST_BALANCE_SECONDS = 5.0
ONCE_BALANCE_SECONDS = 0.3
ONCE_PATIENCE_SECONDS = 30.0
"""How long an outage may last before a run with `once` fails; a service waits for ever."""


class Service:
    """Reads one stream until stopped. `run` is called once, from the main thread."""

    def __init__(self, settings: StreamSettings, parts: Parts, owner: str) -> None:
        self._settings = settings
        self._parts = parts
        self._owner = owner
        self._streams = streams(settings)
        self._limit = parts.limit(settings)
        self._running: dict[str, ShardThread] = {}
        self._stop = StopSignal(parts.monotonic)
        self._look_now = threading.Event()
        self._failure: Exception | None = None
        self._leases: Leases | None = None
        self._start: Position = Position()
        self._others: dict[str, datetime | None] = {}
        self._last_round = parts.monotonic()

    def stop(self) -> None:
        """Finish the batches in hand, checkpoint, release. May be called from any thread."""
        self._stop.request(GRACE_SECONDS)
        self._look_now.set()

    def run(self, once: bool = False) -> None:
        """Read until `stop`, or with `once` until every shard is at its tip.

        Outages are waited out. Raises TooManyDeadLetters, or whatever ended a worker unexpectedly.
        """
        pause = ONCE_BALANCE_SECONDS if once else min(self._settings.lease_seconds / 4, LONGEST_BALANCE_SECONDS)
        try:
            while not self._stop.requested and self._failure is None:
                self._look_now.clear()
                if self._look_after(once) and once and self._is_drained():
                    break
                self._look_now.wait(pause)
        finally:
            self._end_all()
        if self._failure is not None:
            raise self._failure

    def _look_after(self, once: bool) -> bool:
        """One round over leases and workers; False when an outage prevented it. With `once`, raises a long one."""
        try:
            if self._leases is None:
                self._leases = self._open()
            self._balance(self._leases)
        except (StreamUnavailable, StoreUnavailable) as error:
            if once and self._parts.monotonic() - self._last_round > ONCE_PATIENCE_SECONDS:
                raise
            self._trouble(error)
            if isinstance(error, StreamMissing):
                self._forget_stream()
            return False
        except Stopped:  # while it waited for a stream to be made
            return False
        self._last_round = self._parts.monotonic()
        self._parts.health.balanced()
        return True

    def _open(self) -> Leases:
        """Make the streams where absent, and fix for ever where this consumer of this stream begins."""
        kinesis, settings = self._parts.kinesis, self._settings
        for stream in self._streams:
            kinesis.ensure(stream, settings.stream_shards, self._stop.pause)
        consumer = consumer_key(kinesis, settings)
        self._start = first_position(self._parts.store, consumer, settings.start_position, self._parts.now())
        log.info("stream_opened", consumer=consumer, worker=self._owner)
        return Leases(self._parts.store, consumer, self._owner, settings.lease_seconds, self._parts.now)

    def _balance(self, leases: Leases) -> None:
        self._reap(leases)
        shards = self._parts.kinesis.shards(self._streams.input)
        by_id = {shard.shard_id: shard for shard in shards}
        self._follow(by_id)
        balance = leases.balance(shards, {name: thread.worker.lease for name, thread in self._running.items()})
        for shard_id in balance.lost:
            self._running[shard_id].end(grace_seconds=0.0)
        for shard_id in balance.give_up:
            self._running[shard_id].end(GRACE_SECONDS)
        for lease in balance.taken:
            self._begin(by_id[lease.shard_id], lease)

    def _follow(self, shards: dict[str, Shard]) -> None:
        """Tell workers that their shard was closed, and end those whose shard is gone with its records."""
        for shard_id, thread in self._running.items():
            if shard_id not in shards:
                log.error("shard_vanished", shard=shard_id)
                thread.end(grace_seconds=0.0)
            elif shards[shard_id].closed:
                thread.worker.close_shard()

    def _begin(self, shard: Shard, lease: Lease) -> None:
        parts, settings = self._parts, self._settings
        position = Position(after=lease.sequence_number) if lease.sequence_number else self._start
        stop = StopSignal(parts.monotonic)
        persistence = parts.persistence(stop.pause)
        pipeline = parts.pipeline(settings, self._limit, persistence)
        worker = ShardWorker(
            reader=ShardReader(parts.kinesis, self._streams.input, shard, position, parts.monotonic),
            pipeline=pipeline,
            store=parts.store,
            lease=lease,
            persistence=persistence,
            metrics=parts.metrics,
            health=parts.health.open_shard(shard.shard_id),
            aside=Beside(f"effects-{shard.shard_id}"),
            batch_records=settings.batch_records,
            batch_seconds=settings.batch_seconds,
            poll_seconds=settings.stream_poll_seconds,
            now=parts.now,
            monotonic=parts.monotonic,
        )
        self._running[shard.shard_id] = ShardThread(worker, stop, self._look_now.set)
        self._running[shard.shard_id].start()
        log.info("shard_taken", shard=shard.shard_id, token=lease.token, after=lease.sequence_number)

    def _reap(self, leases: Leases | None) -> None:
        """Take leave of workers that ended: release what is ours still, keep the failure that must be told."""
        for shard_id, thread in list(self._running.items()):
            if thread.is_alive():
                continue
            del self._running[shard_id]
            self._parts.health.close_shard(shard_id)
            if isinstance(thread.failure, LeaseLost):
                self._parts.metrics.lost_leases.inc()
                log.warning("lease_lost", shard=shard_id)
            elif thread.failure is not None and self._failure is None:
                self._failure = thread.failure
            if leases is not None:
                leases.release(thread.worker.lease)
            log.info("shard_left", shard=shard_id, finished=thread.worker.finished)

    def _is_drained(self) -> bool:
        """Every readable shard is at its tip, or another worker is at it that shows signs of life."""
        if self._leases is None:
            return False
        states = self._leases.states()
        shards = self._parts.kinesis.shards(self._streams.input)
        for shard in readable(shards, {name for name, state in states.items() if state.finished}):
            thread = self._running.get(shard.shard_id)
            if thread is not None:
                if shard.closed or not thread.worker.drained:  # a closed one leads on to its children
                    return False
                continue
            expires_at = states[shard.shard_id].expires_at if shard.shard_id in states else None
            first_seen = self._others.setdefault(shard.shard_id, expires_at)
            if expires_at is None or first_seen is None or expires_at <= first_seen:
                return False
        return True

    def _trouble(self, error: StreamUnavailable | StoreUnavailable) -> None:
        cause = error.cause if isinstance(error, StreamUnavailable) else "store"
        self._parts.metrics.retries.labels("look_after", cause).inc()
        self._parts.health.balanced(trouble=str(error))
        log.warning("shards_not_looked_after", error=str(error))

    def _forget_stream(self) -> None:
        """The stream is gone: should one of its name come again, it is another, with checkpoints of its own."""
        for thread in self._running.values():
            thread.end(grace_seconds=0.0)
        for thread in self._running.values():
            thread.join()
        self._reap(None)
        self._leases = None

    def _end_all(self) -> None:
        for thread in self._running.values():
            thread.end(GRACE_SECONDS)
        for thread in self._running.values():
            thread.join()
        try:
            self._reap(self._leases)
            if self._leases is not None:
                self._leases.leave()
        except StoreUnavailable as error:
            log.warning("leases_not_released", error=str(error), then="they expire by themselves")


class ShardThread(threading.Thread):
    """Steps one worker until told to end, or until it is finished or fails."""

    def __init__(self, worker: ShardWorker, stop: StopSignal, ended: Callable[[], None]) -> None:
        super().__init__(name=f"shard-{worker.lease.shard_id}", daemon=True)
        self.worker = worker
        self.failure: Exception | None = None
        self._stop_signal = stop
        self._ended = ended

    def end(self, grace_seconds: float) -> None:
        self._stop_signal.request(grace_seconds)

    def run(self) -> None:
        try:
            while not (self._stop_signal.requested or self.worker.finished):
                self._stop_signal.wait(self.worker.step())
            self.worker.settle()
        except (Stopped, StreamMissing):
            log.info("batch_left_for_redelivery", shard=self.worker.lease.shard_id)
        except Exception as error:  # told to the service, which stops loudly
            if not isinstance(error, (LeaseLost, TooManyDeadLetters)):
                log.exception("worker_failed", shard=self.worker.lease.shard_id)
            self.failure = error
        finally:
            self._stop_signal.request(GRACE_SECONDS)  # what is still under way when the reading failed
            self.worker.close()
            self._ended()


def consumer_key(kinesis: Kinesis, settings: StreamSettings) -> str:
    """Under what name leases and checkpoints of this stream's present life are kept."""
    return f"{settings.consumer}/{kinesis.identity(settings.input_stream)}"


def first_position(store: PredictionStore, consumer: str, start: str, now: datetime) -> Position:
    """Where a shard without a checkpoint is read from: decided when the consumer first starts, then kept.

    LATEST becomes the time of that first start: so a restart, or a shard that is born later, skips nothing.
    """
    at_time = first_time(start, now)
    store.put_document("stream-start", consumer, {"at_time": at_time.isoformat() if at_time else None})
    return kept_position(store, consumer)


def kept_position(store: PredictionStore, consumer: str) -> Position:
    """What `first_position` decided once."""
    kept = (store.document("stream-start", consumer) or {}).get("at_time")
    return Position(at_time=datetime.fromisoformat(kept) if kept else None)


def first_time(start: str, now: datetime) -> datetime | None:
    """START_POSITION as a time, None for the oldest record kept. Raises SettingError."""
    if start in ("TRIM_HORIZON", "LATEST"):
        return now if start == "LATEST" else None
    try:
        moment = datetime.fromisoformat(start)
    except ValueError:
        expected = "TRIM_HORIZON, LATEST or a time such as 2026-01-31T12:00:00Z"
        raise SettingError("START_POSITION", start, expected) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
