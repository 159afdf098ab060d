"""`python -m web_service` as tests of faults need it: its process, its workers, and senders that remember answers."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from churn.bundle import Bundle
from tests.services import free_port

DEADLINE_SECONDS = 60.0


def eventually(what: Callable[[], Any], seconds: float = DEADLINE_SECONDS) -> Any:
    """Poll until the result is true, and return it; else the last result."""
    deadline = time.monotonic() + seconds
    while not (found := what()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def fill_cache(cache: Path, bundle: Bundle, name: str | None = None) -> None:
    """Put a bundle into a cache under a run id or an alias, as if it had been downloaded before."""
    folder = cache / "bundles" / bundle.digest
    if not folder.exists():
        shutil.copytree(bundle.folder, folder)
    (cache / "pointers").mkdir(exist_ok=True)
    pointer = {"run_id": bundle.run_id, "digest": bundle.digest}
    (cache / "pointers" / (name or bundle.run_id)).write_text(json.dumps(pointer))


def is_running(pid: int) -> bool:
    """Whether a process runs. One that ended and that nobody has waited for has no command line any more."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except (FileNotFoundError, ProcessLookupError):
        return False


class WebProcess:
    """The service on a free port, in a session of its own. Use as a context manager; it ends with the block."""

    def __init__(self, home: Path, run_id: str, **environment: str) -> None:
        self.home = home
        self.port = int(environment.get("WEB_PORT", free_port()))
        self.log = home / f"web-{self.port}-{time.monotonic_ns()}.log"
        settings = {
            "CHURNWATCH_HOME": str(home),
            "RUN_ID": run_id,
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}",
            "WEB_HOST": "127.0.0.1",
            "WEB_WORKERS": "2",
        }
        own = {"WEB_PORT": str(self.port)}
        with self.log.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "web_service"],
                env=os.environ | settings | environment | own,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    def __enter__(self) -> WebProcess:
        assert eventually(self.is_ready), self.log.read_text()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.get("/ready")[0] == 200
        except OSError:
            return False

    def workers(self) -> list[int]:
        """Process ids of the workers, the oldest first; multiprocessing's own tracker is none."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in children if b"spawn_main" in _command(pid)]

    def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = 30) -> int:
        """Ask the service to end; its exit code. Whatever is left of its session is killed then."""
        self.process.send_signal(number)
        try:
            return self.process.wait(seconds)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)

    def get(self, path: str) -> tuple[int, bytes]:
        return self._ask("GET", path, None, {})

    def post(self, path: str, document: Any, **headers: str) -> tuple[int, Any]:
        status, body = self._ask("POST", path, json.dumps(document).encode(), headers)
        return status, json.loads(body)

    def metric(self, name: str) -> float:
        """The sum of a metric's samples, over labels and workers."""
        lines = self.get("/metrics")[1].decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name)

    def _ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json", **headers})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


class Senders:
    """Threads that post customers over kept connections until told to stop. They remember every answer given."""

    def __init__(self, port: int, customers: Sequence[dict[str, Any]], threads: int = 4, pause: float = 0.0) -> None:
        self._port, self._customers, self._pause = port, customers, pause
        self._stop = threading.Event()
        self.answers: list[dict[str, Any]] = []
        self.refusals: list[tuple[int, bytes]] = []
        self.seconds: list[float] = []
        self.cut = 0
        self._threads = [threading.Thread(target=self._send, args=(i,), daemon=True) for i in range(threads)]

    def __enter__(self) -> Senders:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _send(self, start: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        position = start
        while not self._stop.wait(self._pause):
            position += 1
            body = json.dumps(self._customers[position % len(self._customers)])
            began = time.perf_counter()
            try:
                connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
                response = connection.getresponse()
                payload = response.read()
            except (OSError, http.client.HTTPException):  # its worker was killed: nothing was promised
                self.cut += 1
                connection.close()
                continue
            self.seconds.append(time.perf_counter() - began)
            if response.status == 200:
                self.answers.append(json.loads(payload))
            else:
                self.refusals.append((response.status, payload))
        connection.close()


def _command(pid: str) -> bytes:
    """The command line of a process; of one that is gone, nothing."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
