"""Closed-loop load from wrk, in a process of its own: what came back, how fast, and what it cost the servers."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

SCRIPT = Path(__file__).with_name("post.lua")
TIMEOUT_SECONDS = 10


class LoadError(Exception):
    """wrk is absent, or could not do its work."""


class Load(NamedTuple):
    """One run. `refused` counts answers other than 2xx and 3xx, `broken` connections and timeouts."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    refused: int
    broken: int

    @property
    def requests_per_second(self) -> float:
        return (self.requests - self.refused) / self.seconds


def drive(url: str, body: Path, connections: int, seconds: float) -> Load:
    """Post a file to a URL over so many connections, each as soon as its last answer is there."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise LoadError("wrk is not installed; install it (on Debian: apt-get install wrk)")
    command = [wrk, "--threads", "1", "--connections", str(connections), "--duration", f"{max(1, round(seconds))}s"]
    command += ["--timeout", f"{TIMEOUT_SECONDS}s", "--script", str(SCRIPT), url, "--", str(body)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 6 * TIMEOUT_SECONDS, check=False)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        raise LoadError(f"wrk ended with code {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
    return Load(**json.loads(lines[-1]))
