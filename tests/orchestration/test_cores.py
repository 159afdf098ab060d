"""Fits wait for a core of their tuning, and no longer than its holder lives."""

from __future__ import annotations

import errno
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack

import pytest

from orchestration.cores import one_core

HOLD = """
import time
from orchestration.cores import one_core
with one_core("d", 60, [0]):
    print("held", flush=True)
    time.sleep(60)
"""
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")


def waiting(tuning: str, cores: list[int], patience_seconds: float = 60) -> tuple[threading.Thread, threading.Event]:
    got = threading.Event()

    def fit() -> None:
        with one_core(tuning, patience_seconds, cores):
            got.set()

    thread = threading.Thread(target=fit, daemon=True)
    thread.start()
    return thread, got


def test_as_many_fit_at_once_as_there_are_cores_and_the_next_waits_for_one() -> None:
    with ExitStack() as held:
        for _ in range(2):
            held.enter_context(one_core("a", 60, [0, 1]))
        thread, got = waiting("a", [0, 1])
        assert not got.wait(0.05)
    assert got.wait(5)
    thread.join(5)


def test_another_tuning_does_not_wait() -> None:
    with one_core("b", 60, [0]), one_core("c", 60, [0]):
        pass


def test_what_a_killed_process_held_is_free() -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    thread, got = waiting("d", [0])
    assert not got.wait(0.05)

    holder.kill()
    holder.wait()

    assert got.wait(5)
    thread.join(5)


def test_an_error_of_the_fit_frees_its_core() -> None:
    with pytest.raises(ValueError, match="odd"), one_core("e", 60, [0]):
        raise ValueError("odd")
    started = time.monotonic()
    with one_core("e", 60, [0]):
        assert time.monotonic() - started < 1


def test_who_has_waited_long_enough_goes_on_without() -> None:
    with one_core("f", 60, [0]):
        thread, got = waiting("f", [0], patience_seconds=0.05)
        assert got.wait(5)
    thread.join(5)


def test_where_no_name_can_be_had_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a sandbox may forbid it."""

    class Forbidden(socket.socket):
        def bind(self, address: object, /) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket, "socket", Forbidden)
    with one_core("g", 60, [0]):
        pass
