"""Who is measured: how each is installed and started, what it is sent, and where its answer stands."""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.processes import free_port
from benchmarks.subject import RUN_ID
from churn.bundle import Bundle
from churn.settings import WebSettings

HERE = Path(__file__).parent
PEERS = HERE / "peers"
VENVS = HERE / ".venvs"
REPOSITORY = HERE.parent
WORKERS = 2
THREADS = int(WebSettings.model_fields["web_threads"].default)
QUIET = {
    "DO_NOT_TRACK": "1",
    "BENTOML_DO_NOT_TRACK": "True",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "OMP_NUM_THREADS": "1",  # two workers on two cores: a pool for each would only make them wait for each other
    "PYTHONUNBUFFERED": "1",
}


class NotInstallable(Exception):
    """A peer's venv could not be made."""


@dataclass(frozen=True)
class Subject:
    """What is served, and the one row that is sent."""

    bundle: Bundle
    row: Mapping[str, Any]
    folder: Path

    @property
    def calibrated(self) -> float:
        return float(self.bundle.probabilities(self._matrix())[0])

    @property
    def raw(self) -> float:
        """The trees' own probability, as peers answer it."""
        return 1.0 / (1.0 + math.exp(-float(self.bundle.model.log_odds(self._matrix())[0])))

    @property
    def encoded(self) -> list[float]:
        return [float(value) for value in self._matrix()[0]]

    def _matrix(self) -> Any:
        return self.bundle.encoder.matrix([self.bundle.encoder.clean(self.row)])


@dataclass(frozen=True)
class Contestant:
    """`command` and `prepare` get the port, the subject and a folder of the contestant's own."""

    name: str
    title: str
    command: Callable[[int, Subject, Path], list[str]]
    path: str = "/predict"
    body: Callable[[Subject], Any] = lambda subject: subject.row
    answer: Callable[[Any], float] = lambda document: float(document["churn_probability"])
    expected: Callable[[Subject], float] = lambda subject: subject.raw
    environment: Callable[[int, Subject, Path], dict[str, str]] = lambda port, subject, folder: {}
    prepare: Callable[[int, Subject, Path], None] = lambda port, subject, folder: None
    venv: str | None = None
    connections: tuple[int, ...] = (1, 32)
    tags: frozenset[str] = field(default_factory=frozenset)


def environment(contestant: Contestant, port: int, subject: Subject, folder: Path) -> dict[str, str]:
    """The server's environment: this one without our own settings, then what the contestant needs."""
    ours = {"RUN_ID", "STORE_URL", "PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "VIRTUAL_ENV"}
    kept = {name: value for name, value in os.environ.items() if name not in ours and not name.startswith("WEB_")}
    peer = {"PEER_SUBJECT": str(subject.bundle.folder), "BENTOML_HOME": str(folder / "bentoml")}
    return {**kept, **QUIET, **peer, **contestant.environment(port, subject, folder)}


def install(venv: str) -> None:
    """Make a peer's venv as its pinned file says, unless it is there. Raises NotInstallable with uv's last words."""
    pins, folder = PEERS / f"{venv}.txt", VENVS / venv
    stamp, digest = folder / "pins.sha256", hashlib.sha256(pins.read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == digest:
        return
    uv = str(Path(sys.executable).with_name("uv"))
    sync = ["pip", "sync", "--python", str(_bin(venv, "python")), "--require-hashes", "--compile-bytecode", str(pins)]
    for command in (["venv", "--clear", "--python", sys.executable, str(folder)], sync):
        done = subprocess.run([uv, "--quiet", *command], capture_output=True, text=True, check=False)
        if done.returncode:
            raise NotInstallable(" ".join(done.stderr.split())[-400:])
    stamp.write_text(digest, encoding="utf-8")


def _bin(venv: str, program: str) -> Path:
    return VENVS / venv / "bin" / program


def _serve_bundle(port: int, subject: Subject, folder: Path) -> None:
    """A model cache as a service leaves it, so that ours starts without an MLflow server."""
    cache, digest = folder / "cache", subject.bundle.digest
    (cache / "bundles").mkdir(parents=True)
    (cache / "bundles" / digest).symlink_to(subject.bundle.folder)
    (cache / "pointers").mkdir()
    (cache / "pointers" / RUN_ID).write_text(json.dumps({"run_id": RUN_ID, "digest": digest}), encoding="utf-8")


def _our_environment(port: int, subject: Subject, folder: Path) -> dict[str, str]:
    return {
        "CHURNWATCH_HOME": str(folder),
        "JOURNAL_DIR": str(folder / "journal"),
        "BUNDLE_CACHE": str(folder / "cache"),
        "RUN_ID": RUN_ID,
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",  # nobody is there: the model comes from the cache
        "STORE_URL": f"sqlite:///{folder / 'store.db'}",
        "WEB_HOST": "127.0.0.1",
        "WEB_PORT": str(port),
        "WEB_WORKERS": str(WORKERS),
        "PYTHONPATH": str(REPOSITORY),
    }


def _without_store(port: int, subject: Subject, folder: Path) -> dict[str, str]:
    nowhere = "mongodb://127.0.0.1:9/churnwatch?serverSelectionTimeoutMS=200"
    return {**_our_environment(port, subject, folder), "STORE_URL": nowhere, "STORE_TIMEOUT_SECONDS": "0.2"}


def _our_command(port: int, subject: Subject, folder: Path) -> list[str]:
    return [sys.executable, "-m", "web_service"]


def _floor_command(port: int, subject: Subject, folder: Path) -> list[str]:
    """As many threads as our own Flask routes have; granian's default, up to 256, costs more at 256 connections."""
    granian = [sys.executable, "-m", "granian", "--interface", "wsgi", "--no-ws", "--log-level", "warning"]
    address = ["--host", "127.0.0.1", "--port", str(port)]
    size = ["--workers", str(WORKERS), "--blocking-threads", str(THREADS)]
    return [*granian, *address, *size, "benchmarks.peers.floor:app"]


def _save_mlflow_model(port: int, subject: Subject, folder: Path) -> None:
    target = [str(subject.bundle.folder), str(folder / "model")]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.peers.save_mlflow_model", *target],
        cwd=REPOSITORY,
        env={**os.environ, **QUIET},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise NotInstallable(f"the model could not be saved: {' '.join(done.stderr.split())[-400:]}")


def _mlflow_command(port: int, subject: Subject, folder: Path) -> list[str]:
    serve = [str(_bin("mlflow", "mlflow")), "models", "serve", "--env-manager", "local", "--host", "127.0.0.1"]
    return [*serve, "--model-uri", str(folder / "model"), "--port", str(port), "--workers", str(WORKERS)]


def _prepare_mlserver(port: int, subject: Subject, folder: Path) -> None:
    model = {
        "name": "churn",
        "implementation": "mlserver_xgboost.XGBoostModel",
        "parameters": {"uri": str(subject.bundle.folder / "model.ubj")},
    }
    others = {"grpc_port": free_port(), "metrics_port": free_port(), "metrics_endpoint": None}
    settings = {"host": "127.0.0.1", "http_port": port, "parallel_workers": WORKERS, "debug": False, **others}
    (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "model-settings.json").write_text(json.dumps(model), encoding="utf-8")


def _tensor(subject: Subject) -> dict[str, Any]:
    row = subject.encoded
    values = [value if value == value else None for value in row]  # not NaN, which JSON has no word for
    return {"inputs": [{"name": "row", "shape": [1, len(row)], "datatype": "FP32", "data": values}]}


CONTESTANTS = (
    Contestant(
        "ours",
        "Churnwatch, every answer synced to its journal and stored",
        _our_command,
        expected=lambda subject: subject.calibrated,
        environment=_our_environment,
        prepare=_serve_bundle,
        connections=(1, 32, 256),
        tags=frozenset({"journal"}),
    ),
    Contestant(
        "ours-store-down",
        "Churnwatch while its store is down",
        _our_command,
        expected=lambda subject: subject.calibrated,
        environment=_without_store,
        prepare=_serve_bundle,
        tags=frozenset({"optional"}),
    ),
    Contestant(
        "floor",
        "an empty Flask route on granian",
        _floor_command,
        expected=lambda subject: 0.5,
        environment=lambda port, subject, folder: {"PYTHONPATH": str(REPOSITORY)},
        connections=(1, 32, 256),
    ),
    Contestant(
        "mlflow",
        "mlflow models serve",
        _mlflow_command,
        path="/invocations",
        body=lambda subject: {"dataframe_records": [subject.row]},
        answer=lambda document: float(document["predictions"][0]),
        expected=lambda subject: subject.calibrated,
        environment=lambda port, subject, folder: {
            "PATH": f"{VENVS / 'mlflow' / 'bin'}{os.pathsep}{os.environ['PATH']}"  # it starts uvicorn by name
        },
        prepare=_save_mlflow_model,
        venv="mlflow",
    ),
    Contestant(
        "mlserver",
        "MLServer",
        lambda port, subject, folder: [str(_bin("mlserver", "mlserver")), "start", str(folder)],
        path="/v2/models/churn/infer",
        body=_tensor,
        answer=lambda document: float(document["outputs"][0]["data"][0]),
        prepare=_prepare_mlserver,
        venv="mlserver",
    ),
    Contestant(
        "bentoml",
        "BentoML",
        lambda port, subject, folder: [
            *(str(_bin("bentoml", "bentoml")), "serve", "bentoml_service:Churn", "--working-dir", str(PEERS)),
            *("--host", "127.0.0.1", "--port", str(port), "--quiet"),
        ],
        environment=lambda port, subject, folder: {"PYTHONPATH": str(PEERS)},
        venv="bentoml",
    ),
    Contestant(
        "litserve",
        "LitServe",
        lambda port, subject, folder: [str(_bin("litserve", "python")), str(PEERS / "litserve_server.py"), str(port)],
        venv="litserve",
    ),
    Contestant(
        "fastapi",
        "FastAPI, uvicorn and pandas",
        lambda port, subject, folder: [
            *(str(_bin("fastapi", "uvicorn")), "fastapi_app:app", "--app-dir", str(PEERS), "--no-access-log"),
            *("--host", "127.0.0.1", "--port", str(port), "--workers", str(WORKERS), "--log-level", "warning"),
        ],
        venv="fastapi",
    ),
)
