"""The end of one worker's server, whenever it is told to end."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
import warnings
from typing import Any

import pytest

from tests.services import free_port
from web_service.connections import Connections
from web_service.observed import NothingPlain


async def not_found(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


def connections() -> Connections:
    front: Any = NothingPlain()
    return Connections(front, not_found, "127.0.0.1", free_port())


def test_told_to_end_before_it_begins_it_ends_at_once_and_in_good_order() -> None:
    server = connections()
    server.end()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        server.serve_until_ended()

    assert server.started  # and so took leave of whoever had come in meanwhile


def test_told_to_end_while_it_serves_it_answers_until_then() -> None:
    server = connections()
    address = f"http://127.0.0.1:{server._address[1]}"
    running = threading.Thread(target=server.serve_until_ended, daemon=True)
    running.start()
    while not server.started:
        time.sleep(0.01)

    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(address, timeout=5)
    server.end()
    running.join(5)

    assert not running.is_alive()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(address, timeout=5)
