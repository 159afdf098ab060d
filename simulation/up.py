"""`make up`: every room on the embedded default, in the foreground, one log prefixed by room, until Ctrl-C."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

from churn import settings
from churn.command_line import wants_colour
from churn.contract import load_contract
from churn.errors import ChurnwatchError, RunNotFound
from churn.registry import Registry
from simulation.rooms import Rooms
from simulation.stage import Stage, StageError, StageSettings, environment, environment_file

COLOURS = {"web": 36, "stream": 35, "watch": 33, "mlflow": 34, "prefect": 32, "aws": 90, "reports": 90}


SHARED = (
    *(settings.StoreSettings, settings.FeatureStoreSettings, settings.StreamSettings, settings.WatchSettings),
    *(settings.ReportSettings, settings.WebSettings, settings.PseudonymSettings),
)
"""What commands in another terminal must read as the rooms do: `WINDOW_ROWS=500 make up`, and `monitoring status`."""


class PrefixedLog:
    """Prints the lines of all rooms as one log; whole lines, whoever writes first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._colour = wants_colour(sys.stdout)

    def __call__(self, name: str, line: str) -> None:
        prefix = f"{name:<10}"
        if self._colour:
            prefix = f"\033[{COLOURS.get(name, 37)}m{prefix}\033[0m"
        with self._lock:
            print(f"{prefix}| {line}", flush=True)


def up(contract_name: str) -> None:
    """Start all and stay until Ctrl-C or until a part ends by itself, which is an error."""
    ports, log = settings.read(StageSettings), PrefixedLog()
    contract = load_contract(contract_name)
    os.environ.update(environment(settings.HOME, ports, contract.name))
    os.environ.setdefault("WINDOW_SECONDS", "300")  # somebody is looking: an hour is long to wait for a first verdict
    with Stage(settings.HOME, os.environ, echo=log) as stage:
        rooms = Rooms(stage, ports)
        log("up", "starting S3 and Kinesis (an emulator), MLflow and Prefect: up to half a minute")
        log("up", f"ready: {rooms.start_ground()}")
        run = serving_run(Registry(rooms.mlflow_url), contract.name)
        log("up", f"ready: {rooms.start_services(run)}")
        rooms.start_watch()
        _serve_reports(stage, ports.reports_port)
        with environment_file(settings.HOME, ports, **shared()) as file:
            for line in addresses(rooms, run, ports.reports_port, file):
                log("up", line)
            while (ended := stage.ended()) is None:
                time.sleep(0.5)
        raise StageError(f"{ended.name} ended with code {ended.process.returncode}; see {ended.log}")


def shared() -> dict[str, str]:
    """The variables of those settings that are set here; secrets are left out."""
    fields = {name.upper(): field for concern in SHARED for name, field in concern.model_fields.items()}
    return {name: os.environ[name] for name, field in fields.items() if field.repr and name in os.environ}


def serving_run(registry: Registry, contract: str) -> str:
    """What to serve: RUN_ID when set, else the champion, else the newest challenger."""
    wanted = os.environ.get("RUN_ID", "")
    for run in [wanted] if wanted else ["champion", "challenger"]:
        try:
            registry.resolve(run, contract)
        except RunNotFound:
            continue
        return run
    if wanted:
        raise RunNotFound(wanted, registry.tracking_uri)
    raise ChurnwatchError(
        f"no model of {contract} is in {registry.tracking_uri} yet; run 'make demo' first, which trains one"
    )


def addresses(rooms: Rooms, run: str, reports_port: int, file: Path) -> list[str]:
    return [
        f"serving RUN_ID={run}; Ctrl-C stops all",
        f"HTTP      {rooms.web_url}/          (page, /docs, POST /predict)",
        f"watch     {rooms.watch_url}/          (status, /metrics)",
        f"MLflow    {rooms.mlflow_url}/#/experiments",
        f"Prefect   {rooms.prefect_url}/",
        f"reports   http://127.0.0.1:{reports_port}/",
        f"in another terminal:   make simulate   (traffic), or   . {file}   before any `python -m ROOM`",
        f"the servers' own logs are in {file.parent / 'logs'}",
    ]


def _serve_reports(stage: Stage, port: int) -> None:
    folder = settings.read(settings.ReportSettings).report_dir
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "http.server", str(port)]
    stage.start("reports", [*command, "--bind", "127.0.0.1", "--directory", str(folder)], port)
