"""RSGI request -> WSGI application -> answer: how the front hands requests to Flask. Bodies are whole, not streamed."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable
from typing import Any

Answer = tuple[int, list[tuple[str, str]], bytes]
"""Status, headers, body."""


class WSGIBridge:
    """Calls a WSGI application for requests in the form of RSGI. Safe to share between threads."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app

    def answer(self, scope: Any, headers: Iterable[tuple[str, str]], body: bytes) -> Answer:
        """`scope` is RSGI's; `headers` its headers, read beforehand."""
        told: list[Any] = []

        def start_response(status: str, headers: list[tuple[str, str]], error: Any = None) -> None:
            told[:] = [int(status.split(" ", 1)[0]), headers]

        result = self._app(_environ(scope, headers, body), start_response)
        try:
            payload = b"".join(result)
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()
        return told[0], told[1], payload


def _environ(scope: Any, headers: Iterable[tuple[str, str]], body: bytes) -> dict[str, Any]:
    server, _, port = scope.server.rpartition(":")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": scope.path.encode("utf-8", "surrogateescape").decode("latin-1"),
        "QUERY_STRING": scope.query_string,
        "SERVER_NAME": server,
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "REMOTE_ADDR": scope.client.rpartition(":")[0],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.input": io.BytesIO(body),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in headers:
        if "_" in name:  # else X_API_KEY could pass for X-API-KEY
            continue
        key = name.upper().replace("-", "_")
        key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    environ.setdefault("CONTENT_LENGTH", str(len(body)))  # sent in chunks: now its size is known
    return environ
