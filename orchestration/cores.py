"""A core for each fit. A tuning may have more workers on a machine than it has cores, so that some log their models
while others fit; more fits at once than cores would only push each other out of the caches."""

from __future__ import annotations

import errno
import os
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

LOOK_SECONDS = 0.005


@contextmanager
def one_core(tuning: str, patience_seconds: float, cores: Sequence[int] | None = None) -> Iterator[None]:
    """Wait until one is free of those that the trials of a tuning take on this machine: all that this process may use
    unless told. After `patience_seconds` go on without: too many fits at once are slow, no fit is worse.

    A name that only one process can hold stands for each core: Linux's abstract sockets, which leave no file behind and
    end with their process, killed as it may be. Elsewhere nobody waits.
    """
    if sys.platform != "linux":
        yield
        return
    numbers = sorted(os.sched_getaffinity(0)) if cores is None else cores
    names = [f"\0churnwatch/{tuning}/{number}" for number in numbers]
    give_up = time.monotonic() + patience_seconds
    with socket.socket(socket.AF_UNIX) as mine:
        while all(_is_anothers(mine, name) for name in names) and time.monotonic() < give_up:
            time.sleep(LOOK_SECONDS)
        yield


def _is_anothers(mine: socket.socket, name: str) -> bool:
    """Else it is mine now, or such names cannot be had here at all."""
    try:
        mine.bind(name)
    except OSError as error:
        return error.errno == errno.EADDRINUSE
    return False
