"""Which request heads are a plain POST /predict: read by the HTTP parser once, then known by their bytes.

A client that keeps its connection sends the same head again and again, to the byte. Equal bytes mean the same, so a
look-up can stand for the parser, with nothing parsed twice and nothing understood in two ways.
"""

from __future__ import annotations

from typing import NamedTuple

import httptools

from web_service.gate import token_of

HEAD_BYTES = 4096
"""Longer heads are not plain."""
MOST_KNOWN = 1024
PLAIN_BYTES = 1 << 16
"""Larger bodies are lists in all but name: Flask's threads take them, so that they hold nobody up."""
ELSEWHERE = frozenset({b"transfer-encoding", b"expect", b"upgrade", b"connection", b"x-request-id", b"traceparent"})
"""A head that carries one of these asks for more than the short cut does: uvicorn and Flask have it."""
ONCE = frozenset({b"content-type", b"content-length", b"idempotency-key", b"authorization", b"x-api-key"})


class Plain(NamedTuple):
    """What a plain head says: the body's length in bytes, the Idempotency-Key and the API key ("" for none)."""

    length: int
    key: str | None
    token: str


class Heads:
    """Heads seen before. For one event loop; at most MOST_KNOWN are kept."""

    def __init__(self) -> None:
        self._known: dict[bytes, Plain | None] = {}

    def plain(self, head: bytes) -> Plain | None:
        """What a head says, without its empty line; None when the request is not plain."""
        try:
            return self._known[head]
        except KeyError:
            pass
        if len(head) > HEAD_BYTES:
            return None
        found = read_head(head)
        if found is None or found.key is None:  # a key is new with each request
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[head] = found
        return found


def read_head(head: bytes) -> Plain | None:
    """As `Heads.plain`, by httptools."""
    collected = _Collected()
    parser = httptools.HttpRequestParser(collected)
    try:
        parser.feed_data(head + b"\r\n\r\n")
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return None
    headers = collected.headers
    names = [name for name, _ in headers]
    if (
        not collected.complete
        or collected.url != b"/predict"
        or parser.get_method() != b"POST"
        or parser.get_http_version() != "1.1"
        or not ELSEWHERE.isdisjoint(names)
        or any(names.count(name) > 1 for name in ONCE)
    ):
        return None
    return _plain(dict(headers))


def _plain(headers: dict[bytes, bytes]) -> Plain | None:
    length, key = headers.get(b"content-length", b""), headers.get(b"idempotency-key")
    told = b"".join(headers.get(name, b"") for name in ONCE)
    if headers.get(b"content-type") != b"application/json" or not length.isdigit() or not told.isascii():
        return None
    size = int(length[:9])
    if len(length) > 9 or size > PLAIN_BYTES:
        return None
    token = token_of(headers.get(b"x-api-key", b"").decode(), headers.get(b"authorization", b"").decode())
    return Plain(size, None if key is None else key.decode(), token)


class _Collected:
    """What the parser tells of one head."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.complete = True
