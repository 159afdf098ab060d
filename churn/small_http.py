"""Bounds for the small HTTP servers beside a service (metrics, health, status): what clients may hold of one.

Without them whoever opens connections and says nothing, or says it a byte at a time, holds a thread each, and neither
Prometheus nor a health check gets an answer any more.
"""

from __future__ import annotations

import io
import socket
import sys
import threading
import time
from socketserver import BaseServer, StreamRequestHandler, ThreadingMixIn
from typing import Any

MOST_CONNECTIONS = 64
REQUEST_SECONDS = 10.0
"""From the end of one request to the end of the next one's head and body."""


class BoundedThreads(ThreadingMixIn):
    """A thread a connection, up to MOST_CONNECTIONS; one more is closed at once. Mix into a server."""

    daemon_threads = True

    def __init__(self, *arguments: Any, **more: Any) -> None:
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__(*arguments, **more)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)  # type: ignore[attr-defined]  # the server's

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is slow or gone is no news; anything else is."""
        if not isinstance(sys.exception(), OSError):
            BaseServer.handle_error(self, request, client_address)  # type: ignore[arg-type]  # a server by mixing in


class Prompt(StreamRequestHandler):
    """A request must have arrived whole within REQUEST_SECONDS. Mix in before a handler of HTTP."""

    def setup(self) -> None:
        super().setup()
        self._incoming = _Timed(self.connection)
        self.rfile = io.BufferedReader(self._incoming)

    def handle_one_request(self) -> None:
        self._incoming.begin()
        super().handle_one_request()  # type: ignore[misc]  # BaseHTTPRequestHandler's


class _Timed(io.RawIOBase):
    """Reads of a connection, all of which together end in time: TimeoutError."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.begin()

    def begin(self) -> None:
        self._ends = time.monotonic() + REQUEST_SECONDS

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._connection.settimeout(max(0.001, self._ends - time.monotonic()))
        return self._connection.recv_into(buffer)
