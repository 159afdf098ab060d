"""The command line: `serve` (the default), `ship`, `status`, `dead-letters list|replay`. Wiring only."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from uuid import uuid4

import orjson
import structlog
from prometheus_client import CollectorRegistry

from churn.command_line import make_parser, progress, with_verb
from churn.errors import SettingError
from churn.logs import configure_logs
from churn.metrics import AnswerMetrics, ModelMetrics, StreamMetrics
from churn.model_cache import open_model
from churn.pseudonym import key_source
from churn.registry import RUN_ID_PATTERN, Registry
from churn.serving import AliasWatch, ServingModel
from churn.settings import ModelSettings, PseudonymSettings, StoreSettings, StreamSettings, read
from churn.signals import at_end
from churn.store import PredictionStore, open_store
from stream_service import commands, health, interpreter
from stream_service.answers import ShippingParts, no_scorer, shipping
from stream_service.kinesis import Kinesis, connect
from stream_service.parts import Parts
from stream_service.records import StreamRecord
from stream_service.service import Service, consumer_key, first_time
from stream_service.traces import start_stream_tracing

log = structlog.get_logger()
VERBS = ("serve", "ship", "status", "dead-letters")


def main(arguments: Sequence[str]) -> None:
    """Do what the command line asks. Raises ChurnwatchError with one clear sentence."""
    asked = parser().parse_args(with_verb(arguments, VERBS, "serve"))
    # A service's lines are its output; beside a command's answer they would spoil it.
    stays = asked.command == "ship" or (asked.command == "serve" and not asked.start)
    configure_logs("stream", sys.stdout if stays else sys.stderr)
    start_stream_tracing()
    settings = read(StreamSettings)
    if asked.command == "status":
        _status(settings, asked.json)
    elif asked.command == "dead-letters":
        _dead_letters(settings, asked)
    elif asked.command == "ship":
        _ship(shipping(settings), asked.once)
    elif asked.start or asked.end or asked.dry_run:  # a rehearsal without its span must not become a real run
        _span(settings, asked)
    else:
        _run(settings, asked.once)


def parser() -> argparse.ArgumentParser:
    top = make_parser(
        "stream_service",
        "Reads customer events from Kinesis, answers each with a churn prediction, accounts for all.",
        "Settings come from the environment: RUN_ID, INPUT_STREAM, STORE_URL, … (docs/reference/settings.md)",
    )
    commands_ = top.add_subparsers(dest="command", metavar="VERB", required=True)
    serve = commands_.add_parser("serve", help="read, answer and account until stopped (the default)")
    serve.add_argument("--once", action="store_true", help="answer what is there, then end")
    serve.add_argument("--from", dest="start", type=_time, metavar="TIME", help="read a span again, from this time …")
    serve.add_argument("--to", dest="end", type=_time, metavar="TIME", help="… up to this one; checkpoints stay")
    serve.add_argument("--dry-run", action="store_true", help="with --from and --to: only score and count")
    ship = commands_.add_parser("ship", help="bring the answers of Lambda functions to the prediction log")
    ship.add_argument("--once", action="store_true", help="bring what is there, then end")
    status = commands_.add_parser("status", help="shards, their owners, lag and checkpoints")
    status.add_argument("--json", action="store_true", help="one JSON object a line")
    letters = commands_.add_parser("dead-letters", help="records that were set aside")
    letters.add_argument("action", choices=["list", "replay"])
    letters.add_argument("--reason", help="only those set aside for this reason")
    letters.add_argument("--id", help="only this one")
    letters.add_argument("--data", action="store_true", help="list: the original bytes too (they may be personal)")
    letters.add_argument("--again", action="store_true", help="replay: also those replayed before")
    letters.add_argument("--json", action="store_true", help="replay: the count as JSON; a list is JSON lines anyway")
    return top


def _run(settings: StreamSettings, once: bool) -> None:
    first_time(settings.start_position, datetime.now(UTC))  # say at once what is wrong with it
    registry = CollectorRegistry()
    serving, watch = _model(registry)
    metrics = StreamMetrics(registry)
    board = health.Health(metrics, settings.stream_stuck_seconds)
    store = _store(serving)
    parts = Parts(Kinesis(connect()), store, lambda: serving.current.scorer, metrics, AnswerMetrics(registry), board)
    if watch is not None:
        watch.start()
    interpreter.tune()
    _serve(settings, parts, board, registry, once)


def _ship(settings: StreamSettings, once: bool) -> None:
    first_time(settings.start_position, datetime.now(UTC))
    registry = CollectorRegistry()
    metrics = StreamMetrics(registry)
    board = health.Health(metrics, settings.stream_stuck_seconds)
    parts = ShippingParts(Kinesis(connect()), _store(), no_scorer, metrics, AnswerMetrics(registry), board)
    _serve(settings, parts, board, registry, once)


def _serve(
    settings: StreamSettings, parts: Parts, board: health.Health, registry: CollectorRegistry, once: bool
) -> None:
    """Run until told to stop, or with `once` until all is read; metrics and health are served meanwhile."""
    owner = settings.stream_worker or f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:6]}"
    service = Service(settings, parts, owner)
    server = health.serve(board, registry, settings.stream_metrics_host, 0 if once else settings.stream_metrics_port)
    at_end(service.stop)
    log.info("stream_service_started", worker=owner, metrics_port=server.server_port, once=once)
    try:
        service.run(once)
    finally:
        server.shutdown()
        parts.store.close()
    log.info("stream_service_stopped", worker=owner)


def _model(registry: CollectorRegistry) -> tuple[ServingModel, AliasWatch | None]:
    settings = read(ModelSettings)
    if not settings.run_id:
        raise SettingError("RUN_ID", "", "an MLflow run id (the last line of 'make train' is one) or an alias")
    mlflow = Registry(settings.mlflow_tracking_uri)
    bundle = open_model(settings.run_id, settings.contract, mlflow, settings.bundle_cache)
    key = key_source(read(PseudonymSettings))
    serving = ServingModel(bundle, f"RUN_ID={settings.run_id} at start", ModelMetrics(registry), key=key)
    if RUN_ID_PATTERN.fullmatch(settings.run_id):
        return serving, None
    watch = AliasWatch(
        serving, settings.run_id, settings.contract, mlflow, settings.bundle_cache, settings.alias_poll_seconds
    )
    return serving, watch


def _store(serving: ServingModel | None = None) -> PredictionStore:
    settings = read(StoreSettings)
    contract = serving.current.bundle.contract if serving else None
    retention = {contract.name: contract.retention_days} if contract else {}
    store = open_store(settings.store_url, timeout_seconds=settings.store_timeout_seconds, retention_days=retention)
    store.check()
    return store


def _status(settings: StreamSettings, as_json: bool) -> None:
    kinesis = Kinesis(connect())
    consumer = consumer_key(kinesis, settings)
    rows = commands.status(kinesis, _store(), settings.input_stream, consumer, datetime.now(UTC))
    if as_json:
        for row in rows:
            print(orjson.dumps(row).decode())
        return
    print(f"{'shard':24} {'state':9} {'lag':>10}  {'checkpoint':20} owner")
    for row in rows:
        moved = f"{row['checkpointed_at']:%Y-%m-%dT%H:%M:%SZ}" if row["checkpointed_at"] else "-"
        lag = f"{row['lag_seconds']:.1f} s"
        print(f"{row['shard']:24} {row['state']:9} {lag:>10}  {moved:20} {row['owner'] or '-'}")


def _dead_letters(settings: StreamSettings, asked: argparse.Namespace) -> None:
    kinesis = Kinesis(connect())
    letters = commands.dead_letters(kinesis, settings.dead_letter_stream, asked.reason, asked.id)
    if asked.action == "replay":
        count = commands.replay_dead_letters(kinesis, _store(), letters, asked.again, datetime.now(UTC))
        print(orjson.dumps({"replayed": count}).decode() if asked.json else f"{count} dead letters put back")
        return
    for letter in letters:
        data = {"data": letter.data.decode("utf-8", "replace")} if asked.data else {}
        print(orjson.dumps(letter.document | data).decode())


def _span(settings: StreamSettings, asked: argparse.Namespace) -> None:
    if asked.start is None or asked.end is None or asked.start >= asked.end:
        raise SettingError(
            "--from and --to", f"{asked.start} and {asked.end}", "two times, the first before the second"
        )
    registry = CollectorRegistry()
    serving, _ = _model(registry)
    kinesis = Kinesis(connect())
    with progress() as say:
        batches = _told(commands.span(kinesis, settings.input_stream, asked.start, asked.end), say)
        tally = _carried(settings, asked.dry_run, serving, kinesis, registry, batches)
    print(orjson.dumps(dict(tally)).decode())


def _carried(
    settings: StreamSettings,
    dry_run: bool,
    serving: ServingModel,
    kinesis: Kinesis,
    registry: CollectorRegistry,
    batches: Iterator[list[StreamRecord]],
) -> Counter[str]:
    if dry_run:
        return commands.rehearse(serving.current.scorer, settings.input_stream, batches, settings.stream_record_bytes)
    metrics, answers = StreamMetrics(registry), AnswerMetrics(registry)
    board = health.Health(metrics, settings.stream_stuck_seconds)
    parts = Parts(kinesis, _store(serving), lambda: serving.current.scorer, metrics, answers, board)
    return commands.carry_span(settings, parts, batches)


def _told(batches: Iterator[list[StreamRecord]], say: Callable[[str], None]) -> Iterator[list[StreamRecord]]:
    """The same, with a count on the terminal."""
    count = 0
    for batch in batches:
        yield batch
        count += len(batch)
        say(f"{count:,} records, the newest of {batch[-1].arrived_at:%Y-%m-%dT%H:%M:%SZ}")


def _time(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a time such as 2026-01-31T12:00:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
