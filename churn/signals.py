"""How a service learns that it is to end, at whatever instant it is told."""

from __future__ import annotations

import _thread
import signal
from collections.abc import Callable
from types import FrameType


def at_end(call: Callable[[], object]) -> None:
    """Make the call at SIGTERM and SIGINT, from a thread of its own. A handler runs in the midst of what the main
    thread does: the lock of an Event that it sets may be held by that thread just then, and nothing would go on."""

    def handle(number: int, frame: FrameType | None) -> None:
        _thread.start_new_thread(call, ())  # threading.Thread's start would take a lock of Python's own

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
