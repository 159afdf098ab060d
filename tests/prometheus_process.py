"""A real Prometheus and Alertmanager from the shipped files, with free ports and no patience, and a pager to ring."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.services import free_port

ROOT = Path(__file__).resolve().parents[1]
DEADLINE_SECONDS = 60.0


class Webhook:
    """A pager that remembers what rang: (status, alert, labels), and how many notifications came."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str, dict[str, str]]] = []
        self.groups: list[list[str]] = []
        heard, groups = self.heard, self.groups

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                heard.extend((a["status"], a["labels"]["alertname"], a["labels"]) for a in document["alerts"])
                groups.append([a["labels"]["alertname"] for a in document["alerts"]])
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/"

    def rang(self, status: str, alert: str) -> dict[str, str] | None:
        return next((labels for s, a, labels in list(self.heard) if (s, a) == (status, alert)), None)


@contextmanager
def alertmanager(folder: Path, webhook: Webhook) -> Iterator[str]:
    """Alertmanager on a free port, its receivers led to the webhook; its address."""
    if not shutil.which("prometheus-alertmanager"):
        pytest.skip("prometheus-alertmanager is not installed")
    port = free_port()
    configuration = folder / "alertmanager.yml"
    shutil.copy(ROOT / "monitoring" / "alertmanager" / "alertmanager.yml", configuration)
    changes = {
        "http://127.0.0.1:8085/alerts": webhook.url,
        "group_wait: 10s": "group_wait: 1s",
        "group_interval: 1m": "group_interval: 1s",
    }
    edit(configuration, changes)
    command = [
        "prometheus-alertmanager",
        f"--config.file={configuration}",
        f"--storage.path={folder / 'am'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    with running(command, folder / "alertmanager.log"):
        url = f"http://127.0.0.1:{port}"
        eventually(lambda: answers(f"{url}/-/ready"), "Alertmanager")
        yield url


@contextmanager
def prometheus(folder: Path, targets: Mapping[str, str], alerts_to: str) -> Iterator[str]:
    """Prometheus on a free port; `targets` are shipped targets and what to scrape in their place."""
    if not shutil.which("prometheus"):
        pytest.skip("prometheus is not installed")
    port = free_port()
    configuration = folder / "prometheus"
    shutil.copytree(ROOT / "monitoring" / "prometheus", configuration)
    changes = {"127.0.0.1:9093": alerts_to.removeprefix("http://"), "_interval: 5s": "_interval: 1s"}
    edit(configuration / "prometheus.yml", changes | dict(targets))
    edit(configuration / "recording.yml", {"interval: 1m": "interval: 1s", "interval: 15s": "interval: 1s"})
    command = [
        "prometheus",
        f"--config.file={configuration / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--rules.alert.resend-delay=1s",
    ]
    with running(command, folder / "prometheus.log"):
        url = f"http://127.0.0.1:{port}"
        eventually(lambda: answers(f"{url}/-/ready"), "Prometheus")
        yield url


@contextmanager
def running(
    command: list[str], log: Path, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended, gently if it lets itself, with the block."""
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(url: str) -> bool:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return bool(answer.status == 200)


def eventually(question: Callable[[], Any], what: str, seconds: float = DEADLINE_SECONDS) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if answer := question():
                return answer
        except OSError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"within {seconds:.0f} s there was no {what}")


def edit(path: Path, changes: Mapping[str, str]) -> None:
    text = path.read_text(encoding="utf-8")
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")


def ask(url: str, expression: str) -> list[dict[str, Any]]:
    """What an instant query returns."""
    result: list[dict[str, Any]] = get(url, "query", query=expression)["result"]
    return result


def get(url: str, path: str, **parameters: str) -> Any:
    """What Prometheus' API answers; urllib raises where it refuses."""
    with urllib.request.urlopen(f"{url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}", timeout=10) as answer:
        return json.load(answer)["data"]
