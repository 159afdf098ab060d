"""Alertmanager's webhook: alerts that ask for a retraining become a trigger. Small, bounded, on loopback by default."""

from __future__ import annotations

import hmac
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import msgspec
import structlog

from churn.errors import ChurnwatchError, SettingError
from churn.small_http import BoundedThreads, Prompt

log = structlog.get_logger()

LARGEST_NOTIFICATION = 1 << 20
MOST_AT_ONCE = 16
QUIET_SECONDS = 60.0
"""After a trigger, for so long another of the contract is not passed on: the flow has hardly claimed its turn yet."""
LOOPBACK = ("127.0.0.1", "::1", "localhost")

Trigger = Callable[[str, str], str]
"""Contract and reason -> what was started, as a word for the log. Raises ChurnwatchError."""
Why = Callable[[str], str]
"""Contract -> why nothing may be started now; empty when it may. Raises ChurnwatchError."""


class Alert(msgspec.Struct):
    """What of an alert counts here; Alertmanager sends more."""

    status: str
    labels: dict[str, str]


class Notification(msgspec.Struct):
    """Version 4 of Alertmanager's webhook."""

    alerts: list[Alert]


@dataclass
class Receiver:
    """Decides what becomes of a notification. Safe to share between threads.

    `contracts` maps the contract label of an alert to what a flow is called with.
    """

    contracts: Mapping[str, str]
    alerts: frozenset[str]
    trigger: Trigger
    why_not: Why
    clock: Callable[[], float] = time.monotonic
    _last: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, notification: Notification) -> list[dict[str, str]]:
        """One entry a contract that was asked for: started or not, and why. Raises ChurnwatchError for an outage."""
        reasons: dict[str, str] = {}
        for alert in notification.alerts:
            name, contract = alert.labels.get("alertname", ""), alert.labels.get("contract", "")
            if alert.status == "firing" and name in self.alerts and contract in self.contracts:
                column = alert.labels.get("feature", "")
                reasons.setdefault(contract, f"alert {name}" + (f" of {column[:100]}" if column else ""))
        with self._lock:
            return [self._start(contract, reason) for contract, reason in reasons.items()]

    def _start(self, contract: str, reason: str) -> dict[str, str]:
        entry = {"contract": contract, "reason": reason}
        if self.clock() - self._last.get(contract, -QUIET_SECONDS) < QUIET_SECONDS:
            return entry | {"outcome": "not started", "because": "one was asked for within the last minute"}
        if why := self.why_not(contract):
            return entry | {"outcome": "not started", "because": why}
        started = self.trigger(self.contracts[contract], reason)
        self._last[contract] = self.clock()
        log.info("retraining_asked_for", **entry, started=started)
        return entry | {"outcome": "started", "run": started}


class ReceiverServer:
    """The HTTP door: POST /alerts, GET /health. `start` returns at once; `close` ends it."""

    def __init__(self, receiver: Receiver, host: str, port: int, token: str = "") -> None:
        if not token and host not in LOOPBACK:
            raise SettingError("RETRAIN_TOKEN", "", f"a token, since RETRAIN_HOST={host} is not loopback")
        try:
            self._server = _Server((host, port), _handler(receiver, token))
        except OSError as error:
            raise SettingError("RETRAIN_PORT", port, f"a free port of {host} ({error.strerror})") from error
        self.port = self._server.server_port

    def start(self, poll_seconds: float = 0.5) -> None:
        """`poll_seconds` is how long `close` may take."""
        threading.Thread(target=self._server.serve_forever, args=(poll_seconds,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(BoundedThreads, HTTPServer):
    """Whoever says nothing, or says it slowly, keeps nobody else from being heard."""


def _handler(receiver: Receiver, token: str) -> type[BaseHTTPRequestHandler]:
    places = threading.BoundedSemaphore(MOST_AT_ONCE)
    wanted = f"Bearer {token}".encode()

    class Handler(Prompt, BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/health":
                self._answer(200, {"status": "ok"})
            else:
                self._answer(404, {"status": "expected POST /alerts or GET /health"})

        def do_POST(self) -> None:
            told = self.headers.get("Content-Length", "")
            length = int(told) if told.isdecimal() and len(told) < 10 else 0
            if self.path != "/alerts":
                self._answer(404, {"status": "expected POST /alerts or GET /health"})
            elif token and not hmac.compare_digest(self.headers.get("Authorization", "").encode(), wanted):
                self._answer(401, {"status": "expected Authorization: Bearer and the token"})
            elif not 0 < length <= LARGEST_NOTIFICATION:
                self._answer(413 if length else 411, {"status": f"expected 1 to {LARGEST_NOTIFICATION} bytes"})
            elif not places.acquire(blocking=False):
                self._answer(503, {"status": "too many notifications at once; send it again"})
            else:
                try:
                    self._take(length)
                finally:
                    places.release()

        def _take(self, length: int) -> None:
            try:
                notification = msgspec.json.decode(self.rfile.read(length), type=Notification)
                self._answer(202, {"retrainings": receiver.take(notification)})
            except msgspec.DecodeError as error:
                self._answer(400, {"status": f"expected JSON as Alertmanager's webhook sends it: {error}"})
            except ChurnwatchError as error:  # Alertmanager tries again after a 5xx
                log.error("retraining_not_started", reason=str(error))
                self._answer(503, {"status": str(error)})
            except TimeoutError:
                self.close_connection = True

        def _answer(self, status: int, document: dict[str, Any]) -> None:
            body = msgspec.json.encode(document)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """What matters is logged where it happens."""

    return Handler
