"""API Gateway on loopback, as far as a caller sees it: an HTTP request becomes an event, its answer a response."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.serverless.events import rest_api


@contextmanager
def local_gateway(respond: Callable[[dict[str, Any]], dict[str, Any]], stage: str = "prod") -> Iterator[str]:
    """The address of a stage; bodies reach the function in base64, as they do with binary media types."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = base64.b64encode(self.rfile.read(int(self.headers["content-length"]))).decode()
            path = self.path.removeprefix(f"/{stage}")
            answer = respond(rest_api(body, path=path, headers=dict(self.headers), isBase64Encoded=True))
            payload = answer["body"].encode()
            self.send_response(answer["statusCode"])
            for name, value in {**answer["headers"], "content-length": str(len(payload))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *_: Any) -> None:
            """Not wanted."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/{stage}"
    finally:
        server.shutdown()
        server.server_close()
