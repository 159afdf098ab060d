"""A connection as a client sees it, without a socket: bytes in, answers out, through the real protocol and bridge."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import uvicorn
from flask import Flask
from uvicorn.server import ServerState

from churn.metrics import WebMetrics
from web_service.bridge import BehindFront, WSGIBridge
from web_service.front import Front
from web_service.gate import Gate
from web_service.protocol import ShortCut
from web_service.service import PredictionService


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    payload: bytes


class Wire(asyncio.Transport):
    """Keeps what the server writes."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False
        self.paused = False

    def write(self, data: Any) -> None:
        assert not self.closed
        self.written += bytes(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 5555), "sockname": ("127.0.0.1", 9696)}.get(name, default)


class Door:
    """All of one worker's ways in. `count` connections may be opened with `connect`, on a running event loop."""

    def __init__(
        self,
        service: PredictionService,
        app: Flask,
        metrics: WebMetrics,
        gate: Gate | None = None,
        body_limit: int = 100_000,
    ) -> None:
        self.threads = ThreadPoolExecutor(2)
        self.front = Front(service, gate or Gate(), self.threads, metrics)
        behind = BehindFront(WSGIBridge(app), self.threads, metrics, body_limit)
        self.config = uvicorn.Config(behind, interface="asgi3", ws="none", proxy_headers=False, log_config=None)
        self.state = ServerState()

    def connect(self) -> Connection:
        return Connection(self)

    async def ask(self, request: bytes) -> Answer:
        """One request over a connection of its own."""
        return await self.connect().ask(request)

    async def ask_all(self, requests: Sequence[bytes]) -> list[Answer]:
        return await asyncio.gather(*[self.ask(request) for request in requests])


class Connection:
    def __init__(self, door: Door) -> None:
        self.wire = Wire()
        self.protocol = ShortCut(door.front, door.config, door.state, {}, asyncio.get_running_loop())
        self.protocol.connection_made(self.wire)

    async def ask(self, request: bytes) -> Answer:
        self.protocol.data_received(request)
        return await self.answer()

    async def answer(self) -> Answer:
        """The next answer."""
        deadline = asyncio.get_running_loop().time() + 10
        while (found := self._taken()) is None:
            assert asyncio.get_running_loop().time() < deadline, self.wire.written
            await asyncio.sleep(0 if self.protocol._request is not None else 0.0005)
        return found

    def _taken(self) -> Answer | None:
        head, found, rest = self.wire.written.partition(b"\r\n\r\n")
        if not found:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(headers.get("content-length", 0))
        if len(rest) < length:
            return None
        self.wire.written = rest[length:]
        return Answer(int(first.split(" ")[1]), headers, rest[:length])


def request(method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> bytes:
    lines = [
        f"{method} {path} HTTP/1.1",
        "host: churnwatch",
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
    ]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def post(body: bytes, path: str = "/predict", length: bool = True, **headers: str) -> bytes:
    """`length=False`: in chunks. Headers with underscores for dashes."""
    named = {"content-type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    if length:
        return request("POST", path, {**named, "content-length": str(len(body))}, body)
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:5], body[5:]) if part) + b"0\r\n\r\n"
    return request("POST", path, {**named, "transfer-encoding": "chunked"}, chunks)
