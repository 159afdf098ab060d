"""Clients that hold connections, or speak a byte at a time, keep nobody else from an answer."""

from __future__ import annotations

import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from churn.small_http import BoundedThreads, Prompt


class Server(BoundedThreads, HTTPServer):
    pass


class Handler(Prompt, BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr("churn.small_http.MOST_CONNECTIONS", 3)
    monkeypatch.setattr("churn.small_http.REQUEST_SECONDS", 0.3)
    made = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def get(server: Server) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/", timeout=2) as response:
        return bytes(response.read())


def get_in_time(server: Server, seconds: float = 5.0) -> bytes:
    deadline = time.monotonic() + seconds
    while True:
        try:
            return get(server)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def test_a_client_that_drips_its_request_is_sent_away(server: Server) -> None:
    began = time.monotonic()
    with socket.create_connection(server.server_address[:2], timeout=5) as slow:  # type: ignore[arg-type]
        slow.sendall(b"GET / HTTP/1.1\r\nX: ")
        ended = False
        while not ended and time.monotonic() - began < 5:
            try:
                slow.sendall(b"x")
                slow.settimeout(0.05)
                ended = slow.recv(1) == b""
            except TimeoutError:
                continue
            except OSError:
                ended = True

    assert ended
    assert time.monotonic() - began < 4


def test_idle_clients_keep_nobody_from_an_answer_for_long(server: Server, capfd: pytest.CaptureFixture[str]) -> None:
    idle = [socket.create_connection(server.server_address[:2]) for _ in range(9)]  # type: ignore[arg-type]

    assert get_in_time(server) == b"ok"
    for one in idle:
        one.close()
    assert "Traceback" not in capfd.readouterr().err


def test_a_connection_may_ask_again(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("churn.small_http.REQUEST_SECONDS", 10)
    with socket.create_connection(server.server_address[:2], timeout=2) as kept:  # type: ignore[arg-type]
        for _ in range(3):
            kept.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            received = b""
            while not received.endswith(b"ok"):
                part = kept.recv(4096)
                assert part, "closed"
                received += part
