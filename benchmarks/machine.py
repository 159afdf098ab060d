"""What a figure was measured on: said beside it."""

from __future__ import annotations

import os
import platform
import statistics
import time
from pathlib import Path
from typing import Any

SYNCS = 200
GROUP_BYTES = 8_192


def facts(folder: Path) -> dict[str, Any]:
    """The machine, how busy it is, and what a sync costs on the disk of `folder`."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 2),
        "sync_us": round(sync_microseconds(folder), 1),
    }


def sync_microseconds(folder: Path) -> float:
    """The median time of a write of 8 kB and its fdatasync."""
    path = folder / "sync.probe"
    file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    seconds = []
    try:
        os.posix_fallocate(file, 0, SYNCS * GROUP_BYTES)
        for number in range(SYNCS):
            started = time.perf_counter()
            os.pwrite(file, bytes(GROUP_BYTES), number * GROUP_BYTES)
            os.fdatasync(file)
            seconds.append(time.perf_counter() - started)
    finally:
        os.close(file)
        path.unlink()
    return statistics.median(seconds) * 1e6


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "?")
