"""The stage of the embedded default: local processes for S3, Kinesis, MLflow, Prefect and our own rooms.

Each runs in a process group of its own, logs to a file, and is ended with its group when the stage closes, however
the play ended. Nothing here is needed where AWS, MLflow and the rest run elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from pydantic import Field

from churn.errors import ChurnwatchError
from churn.settings import Settings

READY_SECONDS = 120.0
"""A cold MLflow or Prefect imports for up to half a minute on a busy machine."""
STOP_SECONDS = 15.0
ENVIRONMENT_FILE = "env"
GROUND = ("aws", "mlflow", "prefect")
SILENT = (*GROUND, "reports")
"""Servers of others: their banners and access logs go to their files only, not between the lines of our rooms."""


class StageError(ChurnwatchError):
    """A process could not be started, ended too early, or was not ready in time."""


class StageSettings(Settings):
    """Ports of the embedded parts; those of the rooms are in churn.settings."""

    aws_port: int = Field(4566, ge=1, le=65535, description="The embedded S3/Kinesis emulator.")
    mlflow_port: int = Field(5051, ge=1, le=65535, description="The embedded MLflow server.")
    prefect_port: int = Field(4200, ge=1, le=65535, description="The embedded Prefect server.")
    reports_port: int = Field(8888, ge=1, le=65535, description="The reports, as `make up` serves them.")


@dataclass
class Part:
    """One started process."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    started: float = field(default_factory=time.monotonic)

    def last_words(self, lines: int = 12) -> str:
        """The end of its log, for an error message."""
        text = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(f"    | {line}" for line in text[-lines:])


class Stage:
    """Starts processes and ends every one of them. Use as a context manager, from the main thread."""

    def __init__(self, home: Path, environment: Mapping[str, str], echo: Callable[[str, str], None] | None = None):
        self.home = home
        self.environment = dict(environment)
        self.parts: list[Part] = []
        self._echo = echo
        (home / "logs").mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Stage:
        # A shell's background job starts with SIGINT ignored; then Ctrl-C of whoever owns it would end nothing.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda received, _: sys.exit(128 + received))  # unwinds, and so ends the parts
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, name: str, command: Sequence[str], port: int | None = None, **environment: str) -> Part:
        """Start a process in a group of its own. Raises StageError at once when its port is taken."""
        if port is not None and not port_is_free(port):
            other = "end `make up` by Ctrl-C" if (self.home / ENVIRONMENT_FILE).exists() else "stop what uses it"
            raise StageError(f"port {port} for {name} is in use; {other}, or set {name.upper()}_PORT")
        log = self.home / "logs" / f"{name}.log"
        pipe = self._echo is not None and name not in SILENT
        with log.open("wb") as file:
            process = subprocess.Popen(
                command,
                env={**self.environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipe else file,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a group of its own: Ctrl-C reaches us alone, and we end it in order
            )
        part = Part(name, process, log)
        self.parts.append(part)
        if pipe:
            threading.Thread(target=self._pump, args=(part,), daemon=True).start()
        return part

    def wait_ready(self, part: Part, url: str, timeout_seconds: float = READY_SECONDS) -> float:
        """Wait until `url` answers without an error; returns the seconds since the start of the part."""
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            if part.process.poll() is not None:
                raise StageError(f"{part.name} ended with code {part.process.returncode}:\n{part.last_words()}")
            if answers(url):
                return time.monotonic() - part.started
            time.sleep(0.2)
        raise StageError(f"{part.name} was not ready at {url} within {timeout_seconds:.0f} s:\n{part.last_words()}")

    def ended(self) -> Part | None:
        """The first part that has ended by itself, if any."""
        return next((part for part in self.parts if part.process.poll() is not None), None)

    def end(self, part: Part) -> None:
        """End one part and its group: ask, wait, insist."""
        _signal_group(part, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            part.process.wait(STOP_SECONDS)
        _signal_group(part, signal.SIGKILL)  # what the group left behind
        part.process.wait(STOP_SECONDS)
        if part in self.parts:
            self.parts.remove(part)

    def stop(self) -> None:
        """End all, the last started first. A second Ctrl-C does not interrupt it."""
        previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            for part in reversed(self.parts):
                if part.name not in GROUND:  # rooms first, while what they flush to still stands
                    _signal_group(part, signal.SIGTERM)
            for part in list(reversed(self.parts)):
                self.end(part)
        finally:
            signal.signal(signal.SIGINT, previous)

    def _pump(self, part: Part) -> None:
        with part.log.open("wb") as file:
            for line in part.process.stdout or ():
                file.write(line)
                file.flush()
                if self._echo:
                    self._echo(part.name, line.decode("utf-8", errors="replace").rstrip())


def environment(home: Path, settings: StageSettings, contract: str) -> dict[str, str]:
    """The variables of the embedded default.

    They win over the caller's own, so that a demo never touches a real account.
    """
    return {
        **os.environ,
        **addresses(home, settings),
        "CHURNWATCH_HOME": str(home),
        "CONTRACT": contract,
        "PREFECT_HOME": str(home.resolve() / "prefect"),
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "1",
        "PYTHONUNBUFFERED": "1",
    }


def addresses(home: Path, settings: StageSettings) -> dict[str, str]:
    """Where everything of the embedded default is: what a command in another terminal needs to know."""
    return {
        "CHURNWATCH_HOME": str(home.resolve()),
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{settings.aws_port}",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "embedded",
        "AWS_SECRET_ACCESS_KEY": "embedded",
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{settings.mlflow_port}",
        "PREFECT_API_URL": f"http://127.0.0.1:{settings.prefect_port}/api",
    }


@contextlib.contextmanager
def environment_file(home: Path, settings: StageSettings, **also: str) -> Iterator[Path]:
    """While the block runs, a file that a shell reads (`. FILE`) to find the embedded servers and our Python.

    `also` are variables that commands must see as the rooms do. A file that a killed process left behind sets nothing,
    so that no command goes astray by it.
    """
    path = home / ENVIRONMENT_FILE
    variables = {**also, **addresses(home, settings)}
    lines = [f"  export {name}={shlex.quote(value)}" for name, value in variables.items()]
    places = f"{Path(sys.executable).parent}:{Path(__file__).resolve().parents[1] / 'bin'}"
    lines += [f'  export PATH={shlex.quote(places)}:"$PATH"']
    ended = "echo 'make up has ended: nothing was set' >&2"
    path.touch(mode=0o600)  # an address of a store may hold a password
    path.write_text("\n".join([f"if kill -0 {os.getpid()} 2>/dev/null; then", *lines, f"else {ended}; fi", ""]))
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def start_aws(stage: Stage, settings: StageSettings) -> Part:
    """The S3/Kinesis emulator: loopback only, S3 kept under the home folder."""
    data = stage.home.resolve() / "aws"
    data.mkdir(parents=True, exist_ok=True)
    return stage.start(
        "aws",
        [sys.executable, "-m", "ministack"],
        settings.aws_port,
        BIND_HOST="127.0.0.1",
        GATEWAY_PORT=str(settings.aws_port),
        SERVICES="kinesis,s3",
        IOT_MTLS_ENABLED="0",  # its listener would bind every address, whatever SERVICES says
        S3_PERSIST="1",
        S3_DATA_DIR=str(data / "s3"),
        STATE_DIR=str(data / "state"),
    )


def start_mlflow(stage: Stage, settings: StageSettings) -> Part:
    folder = stage.home.resolve() / "mlflow"
    folder.mkdir(parents=True, exist_ok=True)
    return stage.start(
        "mlflow",
        [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(settings.mlflow_port)),
            *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--workers", "1"),
            *("--artifacts-destination", str(folder / "artifacts"), "--serve-artifacts"),
        ],
        settings.mlflow_port,
        MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",  # its job workers would take 250 MB each
    )


def start_prefect(stage: Stage, settings: StageSettings) -> Part:
    return stage.start(
        "prefect",
        [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port",
         str(settings.prefect_port)],
        settings.prefect_port,
    )  # fmt: skip


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310  # our own loopback addresses
            return bool(answer.status < 400)
    except (OSError, ValueError):
        return False


def _signal_group(part: Part, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(part.process.pid, number)
