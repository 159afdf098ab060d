"""The rooms as processes on one stage: which command, which port, and the route that says that each is ready."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from churn import settings
from simulation.stage import Part, Stage, StageSettings, start_aws, start_mlflow, start_prefect


class Rooms:
    """Starts the embedded servers and our rooms. Addresses come from the settings, so ports can be moved."""

    def __init__(self, stage: Stage, ports: StageSettings) -> None:
        self._stage, self._ports = stage, ports
        web, watch = settings.read(settings.WebSettings), settings.read(settings.WatchSettings)
        self._stream_port = settings.read(settings.StreamSettings).stream_metrics_port
        self._web_port, self._watch_port = web.web_port, watch.watch_port
        self.web_url = f"http://127.0.0.1:{self._web_port}"
        self.watch_url = f"http://127.0.0.1:{self._watch_port}"
        self.stream_url = f"http://127.0.0.1:{self._stream_port}"
        self.mlflow_url = f"http://127.0.0.1:{ports.mlflow_port}"
        self.prefect_url = f"http://127.0.0.1:{ports.prefect_port}"

    def start_ground(self) -> str:
        """S3 and Kinesis, MLflow, Prefect, started together since each imports for seconds. Says how long they took."""
        aws = start_aws(self._stage, self._ports)
        mlflow = start_mlflow(self._stage, self._ports)
        prefect = start_prefect(self._stage, self._ports)
        waits = {
            "S3/Kinesis": self._stage.wait_ready(aws, f"http://127.0.0.1:{self._ports.aws_port}/_ministack/health"),
            # An API route: /health says 200 even where every call is refused.
            "MLflow": self._stage.wait_ready(
                mlflow, f"{self.mlflow_url}/api/2.0/mlflow/experiments/get?experiment_id=0"
            ),
            "Prefect": self._stage.wait_ready(prefect, f"{self.prefect_url}/api/health"),
        }
        return ", ".join(f"{name} {seconds:.1f} s" for name, seconds in waits.items())

    def start_services(self, run_id: str, **environment: str) -> str:
        """HTTP and stream with one model. Says how long each took to be ready."""
        web = self._start("web", "web_service", self._web_port, RUN_ID=run_id, **environment)
        stream = self._start("stream", "stream_service", self._stream_port, RUN_ID=run_id, **environment)
        waits = {
            "HTTP": self._stage.wait_ready(web, f"{self.web_url}/ready"),
            "stream": self._stage.wait_ready(stream, f"{self.stream_url}/health"),
        }
        return ", ".join(f"{name} {seconds:.1f} s" for name, seconds in waits.items())

    def start_watch(self, **environment: str) -> None:
        watch = self._start("watch", "monitoring", self._watch_port, **environment)
        self._stage.wait_ready(watch, f"{self.watch_url}/health")

    def _start(self, name: str, room: str, port: int, **environment: str) -> Part:
        return self._stage.start(name, [sys.executable, "-m", room], port, **environment)


def wait_until(true: Callable[[], bool], timeout_seconds: float, pause_seconds: float = 0.2) -> bool:
    """Poll to a deadline; says whether it became true."""
    deadline = time.monotonic() + timeout_seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause_seconds)
    return True
