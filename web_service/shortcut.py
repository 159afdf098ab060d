"""The short way for a plain POST /predict: a WSGI layer in front of Flask's routing, on the same service.

It answers only what needs no thought: a JSON body of known length, admitted, right and logged. Whatever else it
meets, it hands to Flask with the body rewound, so every error has one author and both ways give the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from typing import Any

from web_service.gate import CLIENT, Gate
from web_service.service import PredictionService
from web_service.strict_json import parse

StartResponse = Callable[..., Any]
WSGI = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]


class PredictShortcut:
    """Wraps a WSGI application. Safe to share between threads."""

    def __init__(self, app: WSGI, service: PredictionService, gate: Gate, body_limit: int) -> None:
        self._app = app
        self._service = service
        self._gate = gate
        self._body_limit = body_limit

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/predict" and environ["REQUEST_METHOD"] == "POST":
            answer = self._answer(environ)
            if answer is not None:
                start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))])
                return [answer]
        return self._app(environ, start_response)

    def _answer(self, environ: dict[str, Any]) -> bytes | None:
        """The answer, or None when Flask is to give it."""
        length = environ.get("CONTENT_LENGTH", "")
        if environ.get("CONTENT_TYPE") != "application/json" or not length.isdecimal():
            return None
        if int(length) > self._body_limit:
            return None
        body = b""
        try:
            environ[CLIENT] = client = self._gate.admit(environ)
            body = environ["wsgi.input"].read(int(length))
            return self._service.predict(parse(body), client, environ.get("HTTP_IDEMPOTENCY_KEY"))
        except Exception:  # Flask's own route meets the same error and tells it
            environ["wsgi.input"] = io.BytesIO(body)
            return None
