"""In the place of `docker compose up --wait` on a server: the HTTP service of the folder it is called in, anew.

Fails when the service ends before it is ready, as a container's health check would.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

READY_SECONDS = 90


def main() -> int:
    pid_file = Path("web.pid")
    if pid_file.exists():
        end(int(pid_file.read_text()))
    values = dict(line.split("=", 1) for line in Path(".env.cloud").read_text().split() if "=" in line)
    with Path("web.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "web_service"],
            env=os.environ | values | {"WEB_PORT": Path("port").read_text(), "CHURNWATCH_HOME": str(Path.cwd())},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=os.environ["CODE"],
            start_new_session=True,
        )
    pid_file.write_text(str(process.pid))
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{Path('port').read_text()}/ready", timeout=2).close()
            return 0
        time.sleep(0.1)
    print(Path("web.log").read_text().splitlines()[-1], file=sys.stderr)
    return 1


def end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    with contextlib.suppress(OSError):  # gone
        while Path(f"/proc/{pid}/cmdline").read_bytes():
            time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
