"""A batch's effects beside the reading and scoring of the next: one batch at a time, so that none overtakes another."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol


class Aside(Protocol):
    """Where one shard's effects are carried out."""

    def start(self, effects: Callable[[], None]) -> None:
        """Have them carried out, after those before. Raises what those before raised; then these do not begin."""

    def finish(self) -> None:
        """Wait for those before. Raises what they raised."""

    def close(self) -> None:
        """Wait for those before, whatever becomes of them; nothing can be started any more."""


class Beside:
    """On a thread of its own. Used by one thread; lives as long as the shard's lease."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._running: Future[None] | None = None

    def start(self, effects: Callable[[], None]) -> None:
        self.finish()
        self._running = self._pool.submit(effects)

    def finish(self) -> None:
        if self._running is not None:
            running, self._running = self._running, None
            running.result()

    def close(self) -> None:
        self._pool.shutdown()
