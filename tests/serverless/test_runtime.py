"""The runtime of the container image, against a local server that speaks Lambda's side."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from serverless.runtime import Context, Runtime, find, main


class Lambda:
    """One event to hand out; what was posted."""

    def __init__(self) -> None:
        self.posted: list[tuple[str, dict[str, Any]]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = b'{"number": 4}'
                self.send_response(200)
                self.send_header("Lambda-Runtime-Aws-Request-Id", "r-1")
                self.send_header("Lambda-Runtime-Deadline-Ms", str(int(time.time() * 1000) + 60_000))
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                service.posted.append((self.path, json.loads(body)))
                self.send_response(202)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Not wanted."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def service() -> Iterator[Lambda]:
    made = Lambda()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_an_event_is_handed_over_and_its_answer_posted(service: Lambda) -> None:
    def handler(event: Any, context: Context) -> dict[str, Any]:
        return {"twice": 2 * event["number"], "in_time": 0 < context.get_remaining_time_in_millis() <= 60_000}

    Runtime(service.address).invoke(handler)

    assert service.posted == [("/2018-06-01/runtime/invocation/r-1/response", {"twice": 8, "in_time": True})]


def test_what_a_handler_raises_is_told_and_the_next_event_is_taken(service: Lambda) -> None:
    runtime = Runtime(service.address)

    def fails(event: Any, context: Context) -> None:
        raise ValueError("not today")

    runtime.invoke(fails)
    runtime.invoke(lambda event, context: {})

    assert [path.rpartition("/")[2] for path, _ in service.posted] == ["error", "response"]
    assert service.posted[0][1] == {"errorType": "ValueError", "errorMessage": "not today", "stackTrace": []}


def test_a_handler_that_is_not_there_is_told_at_the_start(service: Lambda, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_RUNTIME_API", service.address)

    with pytest.raises(AttributeError):
        main("serverless.gateway.absent")

    assert service.posted[0][0] == "/2018-06-01/runtime/init/error"
    assert find("serverless.gateway.handle").__name__ == "handle"
