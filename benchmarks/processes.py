"""A server under measurement: started, awaited, its whole process tree accounted for, ended."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
STOP_SECONDS = 20.0


class ServerError(Exception):
    """A server ended too early, or did not answer in time."""


class Server:
    """One started command and all the processes it made. Its output goes to `log`."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path) -> None:
        self.log = log
        self._started = time.monotonic()
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self, answers: Callable[[], bool], timeout_seconds: float) -> float:
        """The seconds from the start of the process to its first right answer."""
        while time.monotonic() - self._started < timeout_seconds:
            if self._process.poll() is not None:
                raise ServerError(f"ended with code {self._process.returncode}: {self.last_words()}")
            if answers():
                return time.monotonic() - self._started
            time.sleep(0.05)
        raise ServerError(f"gave no right answer within {timeout_seconds:.0f} s: {self.last_words()}")

    def cpu_seconds(self) -> dict[int, float]:
        """User and system time of every process of the tree, by pid; to 1/100 s."""
        seconds = {}
        for pid in self.pids():
            with contextlib.suppress(OSError):
                fields = _stat(pid)
                seconds[pid] = (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND
        return seconds

    def worker_memory_mb(self) -> float:
        """Resident memory of the largest process: a worker, or the parent where that is larger."""
        return max(map(_resident_mb, self.pids()), default=0.0)

    def memory_mb(self) -> float:
        """Resident memory of the tree, pages that are shared counted once for each sharer's part."""
        return sum(map(_proportional_mb, self.pids()))

    def pids(self) -> list[int]:
        """The process and its descendants."""
        children: dict[int, list[int]] = {}
        for entry in os.listdir("/proc"):
            if entry.isdecimal():
                with contextlib.suppress(OSError):
                    children.setdefault(int(_stat(int(entry))[1]), []).append(int(entry))
        found = [self._process.pid]
        for pid in found:
            found += children.get(pid, ())
        return found

    def stop(self) -> None:
        """Ask, wait, insist; also with what lost its parent or left the group."""
        pids = self.pids()
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        for pid in {*pids, *_members(self._process.pid)}:
            if pid != self._process.pid and _runs_in(pid, pids):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(STOP_SECONDS)

    def last_words(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return " / ".join(lines[-3:])[-600:]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def cpu_between(before: Mapping[int, float], after: Mapping[int, float]) -> float:
    """Seconds spent between two accounts. Raises ServerError when a process died in between: its time is gone."""
    if gone := set(before) - set(after):
        raise ServerError(f"processes died under load: {sorted(gone)}")
    return sum(seconds - before.get(pid, 0.0) for pid, seconds in after.items())


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name: state, parent, …"""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()


def _runs_in(pid: int, family: Sequence[int]) -> bool:
    """Still the process we knew: alive, and its parent one of the family or, orphaned, init."""
    try:
        fields = _stat(pid)
    except OSError:
        return False
    return fields[0] != "Z" and int(fields[1]) in {*family, 1}


def _members(group: int) -> list[int]:
    """The processes of a group, also those whose parent is gone."""
    found = []
    for entry in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if int(_stat(int(entry))[2]) == group:
                found.append(int(entry))
    return found


def _resident_mb(pid: int) -> float:
    return _kilobytes(pid, "status", "VmRSS:") / 1024


def _proportional_mb(pid: int) -> float:
    return _kilobytes(pid, "smaps_rollup", "Pss:") / 1024


def _kilobytes(pid: int, file: str, label: str) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/{file}").read_text(encoding="utf-8").splitlines():
            if line.startswith(label):
                return int(line.split()[1])
    return 0
