"""A service is told to end at any instant, also while its main thread holds the lock of the very Event it waits for."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import os, signal, threading
from churn.signals import at_end
stop = threading.Event()
at_end(stop.set)
with stop._cond:  # as in the midst of stop.wait()
    os.kill(os.getpid(), {number})
assert stop.wait(10)
print("ended")
"""


def test_an_event_that_the_main_thread_is_busy_with_can_be_set() -> None:
    for number in ("signal.SIGTERM", "signal.SIGINT"):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM.format(number=number)],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert (done.stdout, done.returncode) == ("ended\n", 0), done.stderr
