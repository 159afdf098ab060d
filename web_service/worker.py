"""One worker process: makes the parts from settings, joins them to an application, takes them apart at the end."""

from __future__ import annotations

import functools
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from churn.bundle import Bundle, load_bundle
from churn.errors import ChurnwatchError
from churn.journal import Idempotency, Journal, Shipper, host_stats
from churn.metrics import AnswerMetrics, DiskMetrics, ModelMetrics, WebMetrics, journal_families
from churn.model_cache import open_model
from churn.pseudonym import key_source
from churn.registry import RUN_ID_PATTERN, Registry
from churn.serving import AliasWatch, ServingModel
from churn.settings import (
    JournalSettings,
    LogSettings,
    ModelSettings,
    PseudonymSettings,
    StoreSettings,
    WebSettings,
    read,
)
from churn.store import open_store
from churn.tracing import stop_tracing
from web_service.app import Parts, create_app
from web_service.bridge import BehindFront, WSGIBridge
from web_service.connections import Connections
from web_service.front import Front
from web_service.gate import Gate
from web_service.keys import FileKeyRing
from web_service.logs import configure_logs
from web_service.observed import observed, start_web_tracing
from web_service.rates import SharedRateLimit
from web_service.readiness import JournalProbe, Readiness
from web_service.service import PredictionService
from web_service.totals import WorkerTotals

log = structlog.get_logger()
SWITCH_SECONDS = 0.001
"""How long the shipper may keep the interpreter while a request wants it; Python's own 5 ms would show in p99."""
GARBAGE_FROM = 20_000
"""New containers before garbage is looked for: requests leave none in cycles, but for those that fail."""
DRAIN_SECONDS = 5.0
"""How long a worker that ends lets its journal run empty; what is left, another worker ships."""


@dataclass(frozen=True)
class WorkerPlan:
    """All that a worker is made from; pickled into it. `bundle_folder` and `digest` are what RUN_ID led to at start."""

    model: ModelSettings
    store: StoreSettings
    journal: JournalSettings
    web: WebSettings
    pseudonym: PseudonymSettings
    bundle_folder: Path
    digest: str
    run_folder: Path
    keys_demanded: bool = False

    @property
    def watches_alias(self) -> bool:
        return not RUN_ID_PATTERN.fullmatch(self.model.run_id)


def run_worker(plan: WorkerPlan, parent: int) -> None:
    """The life of a worker process: serves until SIGTERM or SIGINT, or until its parent is gone, then drains."""
    configure_logs()
    try:
        _live(plan, parent)
    except ChurnwatchError as error:
        log.error("worker_failed", reason=str(error))
        raise SystemExit(1) from None
    except Exception:
        log.exception("worker_failed")
        raise SystemExit(1) from None


def _live(plan: WorkerPlan, parent: int) -> None:
    start_web_tracing()
    _at_signals(_leave)
    ParentWatch(parent).start()
    sys.setswitchinterval(SWITCH_SECONDS)
    bundle = _bundle(plan)
    told: list[int] = []
    _at_signals(lambda number, _: told.append(number))  # from here on there is a journal to close
    worker = Worker(plan, bundle)
    try:
        gc.collect()
        gc.freeze()  # what is made at the start lives for ever: no use looking through it again
        gc.set_threshold(GARBAGE_FROM, 20, 50)
        front, behind = observed(worker.front, worker.behind, read(LogSettings).log_requests)
        connections = Connections(front, behind, plan.web.web_host, plan.web.web_port)
        _at_signals(connections.end)
        if told:
            connections.end()
        connections.serve_until_ended()
    finally:
        worker.close()
        stop_tracing()


def _at_signals(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)


def _leave(number: int, frame: FrameType | None) -> None:
    """While the model is still looked for, which may take as long as MLflow does."""
    raise SystemExit(0)


class ParentWatch(threading.Thread):
    """Ends this worker in good order when the service that started it is gone, killed as it may be: else it would go on
    holding the port, and nobody would replace or stop it."""

    def __init__(self, parent: int, look_seconds: float = 1.0) -> None:
        super().__init__(name="parent-watch", daemon=True)
        self._parent, self._look_seconds = parent, look_seconds

    def run(self) -> None:
        while os.getppid() == self._parent:
            time.sleep(self._look_seconds)
        log.warning("service_gone", parent=self._parent)
        os.kill(os.getpid(), signal.SIGTERM)


class Worker:
    """The parts of one process and their threads. `close` drains the journal and leaves the last totals."""

    def __init__(self, plan: WorkerPlan, bundle: Bundle) -> None:
        registry = CollectorRegistry(auto_describe=False)
        self.model = ServingModel(
            bundle,
            f"RUN_ID={plan.model.run_id} led to this run",
            ModelMetrics(registry),
            key=key_source(plan.pseudonym),
        )
        self.store = open_store(
            plan.store.store_url,
            timeout_seconds=plan.store.store_timeout_seconds,
            retention_days={bundle.contract.name: bundle.contract.retention_days},
        )
        self.journal = Journal(plan.journal.journal_dir, max_waiting_bytes=plan.journal.journal_max_bytes)
        self.shipper = Shipper(self.journal, self.store)
        self.watch = _alias_watch(plan, self.model)
        service = PredictionService(
            self.model,
            self.journal,
            Idempotency(plan.journal.journal_dir, self.store.get_many),
            AnswerMetrics(registry),
            plan.web.web_max_list,
        )
        of_the_host = functools.partial(journal_totals, plan.journal.journal_dir)
        self.totals = WorkerTotals(registry, plan.run_folder, of_the_host, service.tally.flush)
        readiness = Readiness(self.model, JournalProbe(plan.journal.journal_dir, lambda: service.refusal), self.store)
        gate = _gate(plan)
        web_metrics = WebMetrics(registry)
        app = create_app(
            Parts(
                service=service,
                gate=gate,
                metrics=web_metrics,
                store=self.store,
                render_metrics=self.totals.render,
                readiness=readiness.check,
                body_limit=plan.web.web_max_body_bytes,
            )
        )
        self.threads = ThreadPoolExecutor(plan.web.web_threads, "flask")
        self.front = Front(service, gate, self.threads, web_metrics)
        self.behind = BehindFront(WSGIBridge(app), self.threads, web_metrics, plan.web.web_max_body_bytes)
        self.shipper.start()
        self.totals.start()
        if self.watch is not None:
            self.watch.start()

    def close(self) -> None:
        self.threads.shutdown()
        if self.watch is not None:
            self.watch.stop()
        self.journal.close(DRAIN_SECONDS)
        self.totals.stop()
        self.store.close()


def _gate(plan: WorkerPlan) -> Gate:
    """Keys where they are demanded; limits where the service or any key has one."""
    keys = FileKeyRing(plan.web.web_keys_file) if plan.keys_demanded else None
    limited = keys is not None or plan.web.web_rate_per_second > 0
    limit = SharedRateLimit(plan.run_folder / "rates") if limited else None
    return Gate(keys, limit, plan.web.web_rate_per_second)


def journal_totals(directory: Path) -> list[Metric]:
    """What the journal counts for this host, and the room that it has."""
    disk = CollectorRegistry()
    DiskMetrics(disk, {"journal": directory})
    stats = host_stats(directory, time.monotonic())
    counted = journal_families(
        accepted=stats.accepted,
        stored=stats.shipped,
        repeated=stats.repeated,
        waiting=stats.waiting,
        waiting_bytes=stats.waiting_bytes,
        oldest_seconds=stats.oldest_seconds,
        rejected=stats.rejected,
    )
    return [*counted, *disk.collect()]


def _bundle(plan: WorkerPlan) -> Bundle:
    """What RUN_ID led to at the start of the service; for an alias, what it leads to now that this worker starts."""
    if plan.watches_alias:
        try:
            registry = Registry(plan.model.mlflow_tracking_uri)
            return open_model(plan.model.run_id, plan.model.contract, registry, plan.model.bundle_cache)
        except ChurnwatchError as error:
            log.warning("started_from_first_bundle", alias=plan.model.run_id, reason=str(error))
    return load_bundle(plan.bundle_folder, plan.digest)


def _alias_watch(plan: WorkerPlan, model: ServingModel) -> AliasWatch | None:
    if not plan.watches_alias:
        return None
    settings = plan.model
    registry = Registry(settings.mlflow_tracking_uri)
    contract = model.current.bundle.contract.name
    return AliasWatch(model, settings.run_id, contract, registry, settings.bundle_cache, settings.alias_poll_seconds)
