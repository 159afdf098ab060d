"""A core for each fit. A tuning may have more workers on a machine than it has cores, so that some log their models
while others fit; more fits at once than cores would only push each other out of the caches."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

LOOK_SECONDS = 0.005


@contextmanager
def one_core(tuning: str, cores: int | None = None) -> Iterator[None]:
    """Wait until one is free of those that the trials of a tuning take on this machine, all unless told.

    A name that only one process can hold stands for each core: Linux's abstract sockets, which leave no file behind and
    end with their process, killed as it may be. Elsewhere nobody waits.
    """
    if sys.platform != "linux":
        yield
        return
    names = [f"\0churnwatch/{tuning}/{number}" for number in range(cores or len(os.sched_getaffinity(0)))]
    with socket.socket(socket.AF_UNIX) as mine:
        while not any(_taken(mine, name) for name in names):
            time.sleep(LOOK_SECONDS)
        yield


def _taken(mine: socket.socket, name: str) -> bool:
    try:
        mine.bind(name)
    except OSError:  # another's
        return False
    return True
