"""Port 8085: /metrics for Prometheus, / for people, /status.json for programs, /health for whoever restarts us,
/evidently/CONTRACT/RUN_ID for alarms and dashboards, which leads to the newest page, and /alerts for Alertmanager, so
that what it sends is seen on the page."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from churn.errors import EvidentlyFailed, SettingError
from churn.evidently_remote import LARGEST_BYTES, answer
from churn.small_http import BoundedThreads, Prompt
from monitoring.page import render

Answer = tuple[int, str, bytes]
LARGEST_NOTIFICATION = 1 << 20
JOBS, JOB_SECONDS = "/evidently-jobs", 110.0


class StatusServer:
    """Serves in threads of its own until `close`. `status` gives the newest document, `health` an empty text or what
    is wrong."""

    def __init__(
        self,
        host: str,
        port: int,
        registry: CollectorRegistry,
        status: Callable[[], dict[str, Any]],
        health: Callable[[], str],
        evidently_folder: Path | None = None,
        notify: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        routes: dict[str, Callable[[], Answer]] = {
            "/": lambda: (200, "text/html; charset=utf-8", render(status()).encode()),
            "/metrics": lambda: (200, CONTENT_TYPE_LATEST, generate_latest(registry)),
            "/status.json": lambda: _json(200, status()),
            "/health": lambda: _health(health()),
        }
        try:
            self._server = _Server((host, port), _handler(routes, status, evidently_folder, notify))
        except OSError as error:
            expected = f"a free port to bind on {host} ({error.strerror}); stop what uses it or set another"
            raise SettingError("WATCH_PORT", port, expected) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="status-server", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """The port bound: the one asked for, or a free one for 0."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop answering and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(BoundedThreads, HTTPServer):
    """Whoever says nothing, or says it slowly, keeps nobody else from the page."""


def _health(wrong: str) -> Answer:
    return _json(503 if wrong else 200, {"status": wrong or "ok"})


def _json(status: int, document: object) -> Answer:
    return status, "application/json", json.dumps(document).encode()


def _job(body: bytes) -> Answer:
    from churn.evidently_report import run_process  # numpy and more, for those who are asked

    try:
        return 200, "application/zip", answer(body, run_process, JOB_SECONDS)
    except EvidentlyFailed as error:
        return _json(422, {"status": str(error)})


def _evidently_page(folder: Path | None, path: str) -> Answer | None:
    """A page by its bare name: nothing outside the folder can be named."""
    name = unquote(path.removeprefix("/evidently/"))
    if folder is None or name != Path(name).name or not name.endswith(".html"):
        return None
    try:
        return 200, "text/html; charset=utf-8", (folder / name).read_bytes()
    except (OSError, ValueError):
        return None


def _newest_page(status: dict[str, Any], path: str) -> str | None:
    """Where the newest page of a run is, for /evidently/CONTRACT/RUN_ID."""
    contract, _, run = unquote(path.removeprefix("/evidently/")).partition("/")
    for known in status["runs"]:
        if (known["contract"], known["model_run_id"]) == (contract, run) and known["evidently"]:
            return f"/evidently/{quote(known['evidently'])}"
    return None


def _handler(
    routes: dict[str, Callable[[], Answer]],
    status: Callable[[], dict[str, Any]],
    evidently_folder: Path | None,
    notify: Callable[[dict[str, Any]], None] | None,
) -> type[BaseHTTPRequestHandler]:
    class Handler(Prompt, BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            route, page = routes.get(path), None
            if path.startswith("/evidently/"):
                if newest := _newest_page(status(), path):
                    self._answer((302, "text/plain", b""), Location=newest)
                    return
                page = _evidently_page(evidently_folder, path)
            nothing = _json(404, {"status": f"no such page; try {', '.join(routes)}"})
            self._answer(route() if route else page or nothing)

        do_HEAD = do_GET  # noqa: N815  # the standard library's naming

        def do_POST(self) -> None:
            """Alertmanager's webhook, and Evidently's jobs for the reports."""
            told = self.headers.get("Content-Length", "")
            length = int(told) if told.isdecimal() and len(told) < 12 else 0
            if self.path == JOBS and 0 < length <= LARGEST_BYTES:
                self._answer(_job(self.rfile.read(length)))
                return
            if self.path != "/alerts" or notify is None or not 0 < length <= LARGEST_NOTIFICATION:
                self.close_connection = True  # what was sent is not read
                self._answer(_json(404, {"status": "expected a notification of Alertmanager at /alerts"}))
                return
            try:
                notify(json.loads(self.rfile.read(length)))
                self._answer(_json(200, {"status": "ok"}))
            except (ValueError, KeyError, TypeError, AttributeError):
                self._answer(_json(400, {"status": "expected JSON as Alertmanager's webhook sends it"}))

        def _answer(self, answer: Answer, **headers: str) -> None:
            code, kind, body = answer
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Scrapes every few seconds are not worth a line each."""

    return Handler
