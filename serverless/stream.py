"""A Lambda for a Kinesis event source mapping: the stream service's own pipeline under AWS's engine.

AWS reads the shards, keeps the checkpoints and starts as many copies as are needed; here a batch goes through the very
effects it has in stream_service: scored, logged, published, its dead letters set aside. So this handler is the one
place outside that room which may import it. Set the mapping to ReportBatchItemFailures: a shard whose batch could not
be finished is delivered again from its first record, and repeats the same prediction ids.

Variables are those of the stream service (RUN_ID, STORE_URL, RESULTS_STREAM, ...); PSEUDONYM_SECRET, STORE_SECRET: ARNs
of secrets. CHURNWATCH_HOME must be writable: on Lambda a folder under /tmp.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

import structlog
from prometheus_client import CollectorRegistry

from churn import settings
from churn.errors import StoreUnavailable, StreamUnavailable, TooManyDeadLetters
from churn.metrics import AnswerMetrics, StreamMetrics
from churn.model_cache import open_model
from churn.pseudonym import key_source
from churn.registry import Registry
from churn.scoring import Scorer
from churn.store import open_store
from serverless.secret import secret_value
from stream_service.answers import ShippingParts, no_scorer, shipping
from stream_service.backoff import Stopped, StopSignal
from stream_service.health import Health
from stream_service.kinesis import Kinesis, connect
from stream_service.parts import Parts
from stream_service.records import StreamRecord

SPARE_SECONDS = 5.0
"""Left of the function's time for its answer: what is not done by then is delivered again."""
SECRETS = {"PSEUDONYM_KEY": "PSEUDONYM_SECRET", "STORE_URL": "STORE_SECRET"}

Carry = Callable[[list[StreamRecord], float], None]
log = structlog.get_logger()


def handler(event: Mapping[str, Any], context: Any) -> dict[str, list[dict[str, str]]]:
    """What AWS calls. Answers which records to deliver again, the first unfinished one of each shard."""
    return handle(event, context.get_remaining_time_in_millis() / 1000 - SPARE_SECONDS, _carry())


def ship(event: Mapping[str, Any], context: Any) -> dict[str, list[dict[str, str]]]:
    """What AWS calls for the stream of answers that functions behind API Gateway gave: they go to the log."""
    return handle(event, context.get_remaining_time_in_millis() / 1000 - SPARE_SECONDS, _ship())


def handle(event: Mapping[str, Any], seconds: float, carry: Carry) -> dict[str, list[dict[str, str]]]:
    """`carry` takes one shard's records through their effects within `seconds`, or raises and has to be repeated."""
    failures = []
    for shard_id, records in _by_shard(event).items():
        try:
            carry(records, seconds)
        except (Stopped, StoreUnavailable, StreamUnavailable, TooManyDeadLetters) as error:
            log.error("batch_not_finished", shard=shard_id, records=len(records), error=str(error) or "out of time")
            failures.append({"itemIdentifier": records[0].sequence_number})
    return {"batchItemFailures": failures}


def carry_with(parts: Parts, stream: settings.StreamSettings) -> Carry:
    """The stream service's pipeline, bounded in time: pauses between retries end when the time is up."""
    limit = parts.limit(stream)

    def carry(records: list[StreamRecord], seconds: float) -> None:
        stop = StopSignal(parts.monotonic)
        stop.request(max(0.0, seconds))
        parts.pipeline(stream, limit, parts.persistence(stop.pause)).prepare(records)()

    return carry


@cache
def _carry() -> Carry:
    """Made once a container: the model from MLflow or the cache, the store, the streams."""
    _take_secrets()
    model = settings.read(settings.ModelSettings)
    bundle = open_model(model.run_id, model.contract, Registry(model.mlflow_tracking_uri), model.bundle_cache)
    scorer = Scorer(bundle, key=key_source(settings.read(settings.PseudonymSettings)))
    stream = settings.read(settings.StreamSettings)
    retention = {bundle.contract.name: bundle.contract.retention_days}
    return carry_with(Parts(current_scorer=lambda: scorer, **_connected(stream, retention)), stream)


@cache
def _ship() -> Carry:
    """Made once a container: the store and the streams, no model."""
    _take_secrets()
    stream = shipping(settings.read(settings.StreamSettings))
    return carry_with(ShippingParts(current_scorer=no_scorer, **_connected(stream, {})), stream)


def _take_secrets() -> None:
    """Settings that a deployment keeps in Secrets Manager, into the variables that the settings are read from."""
    for variable, of_secret in SECRETS.items():
        if (arn := os.environ.get(of_secret)) and not os.environ.get(variable):
            os.environ[variable] = secret_value(arn)


def _connected(stream: settings.StreamSettings, retention_days: Mapping[str, int]) -> dict[str, Any]:
    store, registry = settings.read(settings.StoreSettings), CollectorRegistry()
    metrics = StreamMetrics(registry)
    opened = open_store(store.store_url, timeout_seconds=store.store_timeout_seconds, retention_days=retention_days)
    return {
        "kinesis": Kinesis(connect()),
        "store": opened,
        "metrics": metrics,
        "answers": AnswerMetrics(registry),
        "health": Health(metrics, stream.stream_stuck_seconds),
    }


def _by_shard(event: Mapping[str, Any]) -> dict[str, list[StreamRecord]]:
    """The event's records by shard, in the order of delivery. An eventID is SHARD_ID:SEQUENCE_NUMBER."""
    shards: dict[str, list[StreamRecord]] = {}
    for entry in event["Records"]:
        shard_id, _, _ = entry["eventID"].partition(":")
        kinesis = entry["kinesis"]
        record = StreamRecord(
            shard_id=shard_id,
            sequence_number=kinesis["sequenceNumber"],
            partition_key=kinesis["partitionKey"],
            data=base64.b64decode(kinesis["data"]),
            arrived_at=datetime.fromtimestamp(float(kinesis["approximateArrivalTimestamp"]), UTC),
        )
        shards.setdefault(shard_id, []).append(record)
    return shards
