"""Is the service moving? Health by shard, and the two routes that tell it: /health and /metrics."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import orjson
from prometheus_client import CollectorRegistry, make_wsgi_app

from churn.errors import SettingError
from churn.metrics import StreamMetrics
from churn.small_http import BoundedThreads, Prompt

StartResponse = Callable[[str, list[tuple[str, str]]], Any]


class ShardHealth:
    """One shard's: how old its oldest unanswered record is, and whether it is stuck with records waiting."""

    def __init__(
        self, stuck_seconds: float, now: Callable[[], datetime], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._stuck_seconds = stuck_seconds
        self._now = now
        self._monotonic = monotonic
        self._oldest_waiting: datetime | None = None
        self._waiting_since: float | None = None
        self._answered_until = now()

    def moved(self) -> None:
        """A batch was carried through."""
        self._waiting_since = None

    def waits(self, oldest: datetime | None) -> None:
        """The arrival of the oldest record known to wait; None when all that is known of is answered."""
        self._oldest_waiting = oldest
        if oldest is None:
            self._answered_until = self._now()
            self._waiting_since = None
        elif self._waiting_since is None:
            self._waiting_since = self._monotonic()

    def unreadable(self) -> None:
        """The shard could not be read: records may be waiting since the last read that found none."""
        self.waits(self._oldest_waiting or self._answered_until)

    @property
    def lag_seconds(self) -> float:
        """Grows by the clock while nothing moves, so that a scrape during an outage tells the truth."""
        oldest = self._oldest_waiting
        return max(0.0, (self._now() - oldest).total_seconds()) if oldest else 0.0

    @property
    def stuck(self) -> bool:
        since = self._waiting_since
        return since is not None and self._monotonic() - since >= self._stuck_seconds


class Health:
    """The whole service's, told by `/health`: 503 when a shard is stuck or nobody looks after the leases."""

    def __init__(
        self,
        metrics: StreamMetrics,
        stuck_seconds: float,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metrics = metrics
        self._stuck_seconds = stuck_seconds
        self._now = now
        self._monotonic = monotonic
        self._shards: dict[str, ShardHealth] = {}
        self._lock = threading.Lock()
        self._balanced_at = monotonic()
        self.trouble = ""
        self.facts: dict[str, str] = {}

    def open_shard(self, shard_id: str) -> ShardHealth:
        health = ShardHealth(self._stuck_seconds, self._now, self._monotonic)
        with self._lock:
            self._shards[shard_id] = health
        self._metrics.owned.labels(shard_id).set(1)
        return health

    def close_shard(self, shard_id: str) -> None:
        with self._lock:
            self._shards.pop(shard_id, None)
        self._metrics.forget(shard_id)

    def balanced(self, trouble: str = "") -> None:
        """The shards were looked after just now, or `trouble` says why they could not be."""
        self.trouble = trouble
        if not trouble:
            self._balanced_at = self._monotonic()

    def report(self) -> tuple[bool, dict[str, Any]]:
        """(is it healthy, the document that says why). Sets the gauges that go by the clock."""
        with self._lock:
            shards = dict(self._shards)
        for shard_id, health in shards.items():
            self._metrics.stuck.labels(shard_id).set(health.stuck)
            self._metrics.lag_seconds.labels(shard_id).set(health.lag_seconds)
        neglected = self._monotonic() - self._balanced_at >= self._stuck_seconds
        healthy = not neglected and not any(health.stuck for health in shards.values())
        document = {
            "status": "ok" if healthy else "stuck",
            **self.facts,
            "trouble": self.trouble,
            "shards": {
                shard_id: {"lag_seconds": round(health.lag_seconds, 3), "stuck": health.stuck}
                for shard_id, health in sorted(shards.items())
            },
        }
        return healthy, document


class _Server(BoundedThreads, WSGIServer):
    """A slow scraper holds up nobody else."""


class _QuietHandler(Prompt, WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Scrapes are not news."""


def serve(health: Health, registry: CollectorRegistry, host: str, port: int) -> WSGIServer:
    """Serve both routes from a daemon thread; port 0 takes a free one (`server_port`). Raises SettingError."""
    metrics_app = make_wsgi_app(registry)

    def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        healthy, document = health.report()
        if path == "/metrics":
            return metrics_app(environ, start_response)  # type: ignore[no-any-return]
        known = path in ("/", "/health")
        status = "404 Not Found" if not known else "200 OK" if healthy else "503 Service Unavailable"
        body = orjson.dumps(document if known else {"detail": "routes here: /health, /metrics"})
        start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    try:
        server = make_server(host, port, app, _Server, _QuietHandler)
    except OSError as error:
        expected = f"a free port on {host} ({error.strerror or error}); stop what holds it or choose another"
        raise SettingError("STREAM_METRICS_PORT", port, expected) from error
    threading.Thread(target=server.serve_forever, args=(0.1,), name="metrics", daemon=True).start()
    return server
