"""One HTTP connection: uvicorn's, with a short cut for plain predictions, and bounds on what a client may hold.

Where a connection stands at the start of a request, and the request is plain and whole, `Front` takes it, and its
answer is written here. All else, and a request that the front hands back, goes to uvicorn's own parser as it came. The
only home of uvicorn's protocol; server.py has its server.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from web_service.front import Front
from web_service.gate import CLIENT

IDLE_SECONDS = 75.0
"""How long a connection may lie idle: longer than a proxy in front keeps its own, so that it is the one to close."""
HEAD_SECONDS = 30.0
"""How long the head of a request may take, from its first byte; also a plain request as a whole."""
HEAD_LIMIT = 1 << 16
"""Bytes of a request's head."""
HELD_LIMIT = 1 << 17
"""Bytes that may wait behind a plain request before nothing more is read."""


class ShortCut(HttpToolsProtocol):
    """A connection. uvicorn makes one for each; `front` comes first, by functools.partial."""

    def __init__(
        self,
        front: Front,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.address = ""
        self.admitted: str | None = None
        self._front = front
        self._held = b""
        """Bytes of a request that is not whole yet, or that came while an answer is being made."""
        self._request: bytes | None = None
        """The plain request that is being answered."""
        self._closes = False
        self._in_head = self._in_message = False
        self._head_bytes = 0
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None

    # The transport's side.

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        self._since = self.loop.time()
        self._timer = self.loop.call_later(HEAD_SECONDS, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._request is not None:
            self._held += data
            if len(self._held) > HELD_LIMIT:
                self.flow.pause_reading()
        elif self._between_requests():
            if self._held:
                data, self._held = self._held + data, b""
            else:
                self._since = self.loop.time()
            if not self._take(data):
                self._feed(data)
        else:
            self._feed(data)

    def shutdown(self) -> None:
        """The service ends: what is being answered is answered first."""
        if self._request is not None:
            self._closes = True
        else:
            super().shutdown()

    # The front's side.

    def reply(self, body: bytes) -> None:
        self._request = self.admitted = None
        if self.transport.is_closing():
            return
        self.transport.write(self._ok(len(body)) + body)
        self.server_state.total_requests += 1
        if self._closes:
            self.transport.close()
        else:
            self._since = self.loop.time()
            self._go_on()

    def fall_back(self) -> None:
        request, self._request = self._request, None
        if request is not None and not self.transport.is_closing():
            self._feed(request)
            if self._closes:
                super().shutdown()
            self._go_on()

    def _go_on(self) -> None:
        """With what came meanwhile."""
        if self._held:
            data, self._held = self._held, b""
            self.flow.resume_reading()
            self.data_received(data)

    def _take(self, data: bytes) -> bool:
        """Whether the short cut has these bytes: a plain request, or the front part of one."""
        end = data.find(b"\r\n\r\n")
        plain = self._front.heads.plain(data[:end]) if end > 0 else None
        if plain is None:
            return False
        start, stop = end + 4, end + 4 + plain.length
        if len(data) < stop:
            self._held = data
            return True
        if not self._front.take(plain, data[start:stop], self):
            return False
        self._request, self._held = data[:stop], data[stop:]
        return True

    def _ok(self, length: int) -> bytes:
        ending = b"connection: close\r\n\r\n" if self._closes else b"\r\n"
        return b"%scontent-length: %d\r\n%s" % (_first_lines(self.server_state), length, ending)

    # uvicorn's side.

    def _between_requests(self) -> bool:
        return not self._in_message and not self.pipeline and (self.cycle is None or self.cycle.response_complete)

    def _feed(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_LIMIT and not self.transport.is_closing():
                self.send_400_response(f"the head of the request is larger than {HEAD_LIMIT} bytes")

    def on_message_begin(self) -> None:
        self._in_message = self._in_head = True
        self._head_bytes = 0
        super().on_message_begin()
        if self.admitted is not None:
            cast(dict[str, Any], self.scope)[CLIENT] = self.admitted
            self.admitted = None

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_message = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self._since = self.loop.time()
        super().on_response_complete()

    def timeout_keep_alive_handler(self) -> None:
        """Nothing: `_look` bounds idle connections, and knows of the answers that uvicorn does not see."""

    def _look(self) -> None:
        """Now and then: whether the client took too long. Answers that are being made, and bodies on their way to
        Flask, have limits of their own."""
        now, self._timer = self.loop.time(), None
        waits = self._request is not None or (self.cycle is not None and not self.cycle.response_complete)
        allowed = HEAD_SECONDS if self._held or self._in_head else IDLE_SECONDS
        if not waits and now - self._since >= allowed:
            self.transport.close()
            return
        pause = HEAD_SECONDS if waits else max(0.1, min(HEAD_SECONDS, self._since + allowed - now))
        self._timer = self.loop.call_later(pause, self._look)


def _first_lines(state: ServerState) -> bytes:
    """Of every 200: uvicorn's own headers in it, which change with the date, once a second."""
    global _lines
    headers = state.default_headers
    if _lines[0] is not headers:
        own = b"".join(b"%s: %s\r\n" % header for header in headers)
        _lines = headers, b"HTTP/1.1 200 OK\r\n%scontent-type: application/json\r\n" % own
    return _lines[1]


_lines: tuple[list[tuple[bytes, bytes]], bytes] = [], b""
