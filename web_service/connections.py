"""uvicorn's server for one worker: its event loop, its listening socket, the end of its connections."""

from __future__ import annotations

import functools
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from web_service.front import Front
from web_service.protocol import IDLE_SECONDS, ShortCut

BACKLOG = 2048
END_SECONDS = 8
"""How long answers that are being made may take once the worker is to end."""


class Connections(uvicorn.Server):
    """Serves until `end`, which a signal's handler may call before it begins: uvicorn has its own handlers only while
    its loop runs."""

    def __init__(self, front: Front, behind: Any, host: str, port: int) -> None:
        super().__init__(
            uvicorn.Config(
                behind,
                interface="asgi3",
                http=functools.partial(ShortCut, front),  # type: ignore[arg-type]  # called as a class would be
                ws="none",
                loop="uvloop",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,  # the rate limit counts the address that is really there
                server_header=False,
                timeout_keep_alive=int(IDLE_SECONDS),
                timeout_graceful_shutdown=END_SECONDS,
            )
        )
        self._address = host, port

    def serve_until_ended(self) -> None:
        """Returns when every answer begun was given, or END_SECONDS after `end`."""
        with listening(*self._address) as listener:
            self.run(sockets=[listener])

    def end(self, *_: object) -> None:
        """The loop looks for it ten times a second."""
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The worker's handlers stay."""
        yield


def listening(host: str, port: int) -> socket.socket:
    """A socket of this worker's own on the address that all workers share: the kernel spreads connections."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((host, port))
    listener.listen(BACKLOG)
    return listener
