"""The whole system in Docker: built, brought up, used through its gateway, every container killed under load, taken
down and brought up again; every answer that a client received is in the log.

Slow (minutes). Skips where no engine answers, or where base images are neither there nor to be pulled. On stand-in
images (label `churnwatch.stand-in`) an override is added and nothing is pulled; results are then "on stand-ins".
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from random import sample
from typing import Any
from uuid import uuid4

import pytest

from churn.contract import load_contract
from tests.fakes import random_customers, records

ROOT = Path(__file__).resolve().parents[2]
PROJECT = "churnwatch-e2e"
PORTS = [
    *("GATEWAY_PORT", "REPORTS_PORT", "WEB_PORT", "STREAM_METRICS_PORT", "MLFLOW_PORT", "PREFECT_PORT"),
    *("WATCH_PORT", "RETRAIN_PORT", "PROMETHEUS_PORT", "ALERTMANAGER_PORT", "GRAFANA_PORT", "AWS_PORT"),
]
BASES = ("python:3.12-slim-bookworm", "mongo:8.0", "postgres:17-alpine", "nginx:1.28-alpine")
PACE_SECONDS = 0.02
WELL_SECONDS = 180.0
READ_IDS = """
import json, sys
from churn.settings import StoreSettings, read
from churn.store import open_store
ids = json.load(sys.stdin)
print(len(open_store(read(StoreSettings).store_url, timeout_seconds=20).get_many(ids)))
"""

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2400)]


def docker(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)


def label_of(image: str) -> str | None:
    """Its stand-in label, empty for a true image, None when it is not on this machine."""
    found = docker("image", "inspect", "--format", '{{index .Config.Labels "churnwatch.stand-in"}}', image)
    return found.stdout.strip().replace("<no value>", "") if found.returncode == 0 else None


@dataclass
class System:
    """The composed system: commands on it, and requests through its gateway."""

    environment: dict[str, str]

    def compose(self, *arguments: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        command = ["docker", "compose", "--env-file", ".env.local", *arguments]
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False, **options
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
        return done

    def request(self, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers in small letters, body; the certificate is checked against the one that was made."""
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"https://localhost:{self.environment['GATEWAY_PORT']}{path}", data)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            request.add_header(name.replace("_", "-"), value)
        trust = ssl.create_default_context(cafile=ROOT / "secrets" / "gateway_certificate")
        try:
            with urllib.request.urlopen(request, timeout=10, context=trust) as answer:
                return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()

    def predict(self, customer: dict[str, Any], key: str) -> str | None:
        """The id of an acknowledged prediction, or None."""
        token = secret("key_simulation")
        try:
            status, _, body = self.request("/predict", customer, Authorization=f"Bearer {token}", Idempotency_Key=key)
        except OSError:
            return None
        return str(json.loads(body)["prediction_id"]) if status == 200 else None

    def services(self) -> dict[str, str]:
        """Container ids of what runs, by service."""
        lines = self.compose("ps", "--all", "--format", "json").stdout.splitlines()
        return {each["Service"]: each["ID"] for each in map(json.loads, lines)}

    def inspect(self, container: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(docker("inspect", container).stdout)[0]
        return found

    def is_well(self, container: str) -> bool:
        state = self.inspect(container)["State"]
        return bool(state["Running"]) and state.get("Health", {}).get("Status", "healthy") == "healthy"

    def logged(self, ids: list[str]) -> int:
        """How many of these predictions are in the log."""
        done = self.compose("exec", "-T", "watch", "python", "-c", READ_IDS, input=json.dumps(ids), check=False)
        return int(done.stdout) if done.returncode == 0 else -1


@dataclass
class Load:
    """A client that repeats each request, with its key, until it is acknowledged."""

    system: System
    customers: list[dict[str, Any]]
    acknowledged: list[str] = field(default_factory=list)
    refused: int = 0

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(60)

    def _run(self) -> None:
        while not self._stop.wait(PACE_SECONDS):
            customer, key = self.customers[len(self.acknowledged) % len(self.customers)], str(uuid4())
            while (identity := self.system.predict(customer, key)) is None and not self._stop.wait(0.2):
                self.refused += 1
            if identity is not None:
                self.acknowledged.append(identity)


def kill(pid: int) -> None:
    """As the kernel kills when memory runs out: `docker kill` would count as a wish that it stays down."""
    try:
        os.kill(pid, signal.SIGKILL)
    except (PermissionError, ProcessLookupError):
        pytest.skip("killing containers from outside needs to be root on the engine's own host")


def secret(name: str) -> str:
    return (ROOT / "secrets" / name).read_text().strip()


def wait_until(true: Callable[[], bool], seconds: float, what: str) -> float:
    """Poll to a deadline; returns how long it took."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.5)
    return time.monotonic() - began


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    if shutil.which("docker") is None or docker("version").returncode != 0:
        pytest.skip("no Docker engine answers here")
    labels = [label_of(image) for image in BASES]
    stand_ins = any(labels)
    if stand_ins and None in labels:
        pytest.skip("some base images have stand-ins here and some do not")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COMPOSE_")}
    environment |= {"COMPOSE_PROJECT_NAME": PROJECT, "TRIALS": "2", **dict(zip(PORTS, free_ports(), strict=True))}
    if stand_ins:
        environment |= {"PULL": "never", "COMPOSE_FILE": "docker-compose.yml:tests/e2e/compose.stand-ins.yml"}
    composed = System(environment)
    composed.compose("--profile", "*", "down", "--volumes", "--remove-orphans")
    try:
        began = time.monotonic()
        done = subprocess.run(
            ["docker/up", "local"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode != 0 and "failed to resolve" in done.stderr + done.stdout:
            pytest.skip("base images can be pulled from nowhere here")
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        print(f"\nup in {time.monotonic() - began:.0f} s{' on stand-in images' if stand_ins else ''}\n{done.stdout}")
        yield composed
    finally:
        composed.compose("--profile", "*", "down", "--volumes", "--remove-orphans", check=False)


def free_ports() -> list[str]:
    """Below the range that clients take theirs from: these stay free while containers come and go."""
    free = (port for port in sample(range(15_000, 30_000), 1_000) if is_free(port))
    return [str(port) for port in islice(free, len(PORTS))]


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.fixture(scope="module")
def customers() -> list[dict[str, Any]]:
    contract = load_contract("credit_card")
    return records(random_customers(contract, 200, seed=5), contract)


def test_a_prediction_through_the_gateway_needs_a_key_and_comes_with_its_headers(
    system: System, customers: list[dict[str, Any]]
) -> None:
    status, headers, body = system.request("/predict", customers[0], Authorization=f"Bearer {secret('key_simulation')}")
    assert status == 200, body
    assert 0 <= json.loads(body)["churn_probability"] <= 1
    assert headers["strict-transport-security"] == "max-age=31536000"
    assert headers["x-content-type-options"] == "nosniff"

    assert system.request("/predict", customers[0])[0] == 401
    assert system.request("/health")[0] == 200
    assert system.request("/docs")[0] == 200


def test_the_gateway_keeps_metrics_inside_and_answers_for_itself_as_the_service_does(system: System) -> None:
    assert system.request("/metrics")[0] == 404
    status, headers, body = system.request("/predict", b" " * (17 << 20))
    assert (status, headers["content-type"]) == (413, "application/problem+json")
    assert json.loads(body)["status"] == 413


def test_a_new_certificate_is_taken_without_a_dropped_request_and_a_wrong_one_is_not(system: System) -> None:
    files = [ROOT / "secrets" / name for name in ("gateway_certificate", "gateway_certificate_key")]
    old, new = [file.read_text() for file in files], certificate_and_key()

    def put(texts: list[str]) -> int:
        for file, text in zip(files, texts, strict=True):
            file.write_text(text)
        made = ["make", "-s", "certificate-reload", "env=local"]
        return subprocess.run(made, cwd=ROOT, env=system.environment, capture_output=True, check=False).returncode

    callers = [Caller(system, old[0] + new[0]) for _ in range(4)]
    try:
        assert put([old[0], "no key\n"]) != 0
        assert put(new) == 0
        wait_until(lambda: all(caller.shown[-1:] == [der(new[0])] for caller in callers), 30, "the new certificate")
    finally:
        assert put(old) == 0
        wait_until(lambda: all(caller.shown[-1:] == [der(old[0])] for caller in callers), 30, "the old certificate")
        for caller in callers:
            caller.stop()

    print(f"\n{sum(caller.answered for caller in callers):,} answered while the certificate changed twice")
    assert [caller.failures for caller in callers] == [[]] * 4
    assert {each for caller in callers for each in caller.shown} == {der(old[0]), der(new[0])}


class Caller:
    """Asks for /health on a new connection each time, trusting these certificates."""

    def __init__(self, system: System, trusted: str) -> None:
        self.answered = 0
        self.failures: list[str] = []
        self.shown: list[bytes] = []
        """The certificates that it was shown, one after the other; workers of both answer for a moment."""
        self._port = int(system.environment["GATEWAY_PORT"])
        self._trust = ssl.create_default_context(cadata=trusted)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(30)

    def _run(self) -> None:
        while not self._stop.wait(0.005):
            connection = http.client.HTTPSConnection("localhost", self._port, timeout=10, context=self._trust)
            try:
                connection.connect()
                shown = connection.sock.getpeercert(binary_form=True)
                connection.request("GET", "/health")
                answer = connection.getresponse()
                answer.read()
                assert answer.status == 200, answer.status
            except (OSError, http.client.HTTPException, AssertionError) as error:
                self.failures.append(repr(error))
            else:
                self.answered += 1
                if self.shown[-1:] != [shown]:
                    self.shown.append(shown)
            finally:
                connection.close()


def certificate_and_key() -> list[str]:
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"]
    make += ["-days", "2", "-subj", "/CN=another", "-addext", "subjectAltName=DNS:localhost", "-keyout", "/dev/stdout"]
    made = subprocess.run(make, capture_output=True, text=True, check=True).stdout
    begins = made.index("-----BEGIN CERTIFICATE")
    return [made[begins:], made[:begins]]


def der(certificate: str) -> bytes:
    return ssl.PEM_cert_to_DER_cert(certificate)


def test_reports_are_behind_a_password(system: System) -> None:
    assert system.request("/reports/")[0] == 401

    user = base64.b64encode(f"churnwatch:{secret('reports_password')}".encode()).decode()
    status, headers, body = system.request("/reports/", Authorization=f"Basic {user}")
    assert status == 200
    assert b"<html" in body
    assert headers["content-security-policy"].startswith("default-src 'none'")


def test_prometheus_reaches_every_room_with_its_key(system: System) -> None:
    url = f"http://127.0.0.1:{system.environment['PROMETHEUS_PORT']}/api/v1/query?query=up"

    def all_up() -> bool:
        with urllib.request.urlopen(url, timeout=5) as answer:
            found = json.load(answer)["data"]["result"]
        return {each["metric"]["job"]: each["value"][1] for each in found} == {"web": "1", "stream": "1", "watch": "1"}

    wait_until(all_up, 60, "three jobs up")


def test_containers_run_as_nobody_in_particular_and_cannot_write_their_root(system: System) -> None:
    for service in ("web", "stream", "watch", "report", "mlflow", "emulator"):
        command = "id -u; touch /app/x 2>/dev/null && echo writable; grep CapEff /proc/self/status"
        lines = system.compose("exec", "-T", service, "sh", "-c", command).stdout.split("\n")
        assert lines[0] == "10001", service
        assert "writable" not in lines, service
        assert lines[1].split() == ["CapEff:", "0" * 16], service


def test_every_image_but_those_of_training_and_the_watch_is_below_600_mb(system: System) -> None:
    rooms = ("web", "stream", "backup", "emulator", "simulate", "report")
    sizes = {
        room: int(docker("image", "inspect", "--format", "{{.Size}}", f"churnwatch/{room}").stdout) for room in rooms
    }
    print(f"\n{', '.join(f'{room} {size / 1e6:.0f} MB' for room, size in sizes.items())}")

    assert max(sizes.values()) < 600_000_000, sizes


def test_at_200_predictions_a_second_through_the_gateway_none_fails(system: System) -> None:
    command = [sys.executable, "-m", "benchmarks.docker"]
    done = subprocess.run(command, cwd=ROOT, env=system.environment, capture_output=True, text=True, check=False)
    print(f"\n{done.stdout}")
    assert done.returncode == 0, done.stderr


def test_a_report_with_evidentlys_page_is_made_where_evidently_is_not(system: System) -> None:
    command = ("run", "--rm", "-T", "--no-deps", "--entrypoint", "python", "report", "-m", "reporting")
    done = system.compose(*command, "make", "--last-hours", "1", "--json")
    made = json.loads(done.stdout.splitlines()[-1])["reports"]
    assert made
    user = base64.b64encode(f"churnwatch:{secret('reports_password')}".encode()).decode()
    status, _, body = system.request(f"/reports/{made[0]['path']}/evidently.html", Authorization=f"Basic {user}")
    assert status == 200
    assert len(body) > 1_000_000
    assert system.compose("exec", "-T", "report", "python", "-c", "import evidently", check=False).returncode != 0


def test_whichever_container_is_killed_under_load_all_is_well_again_and_no_prediction_is_lost(
    system: System, customers: list[dict[str, Any]]
) -> None:
    load = Load(system, customers)
    wait_until(lambda: len(load.acknowledged) > 50, 60, "load to begin")
    try:
        for service, container in sorted(system.services().items()):
            before = system.inspect(container)
            refused, answered = load.refused, len(load.acknowledged)
            kill(before["State"]["Pid"])
            wait_until(lambda c=container, b=before: system.inspect(c)["RestartCount"] > b["RestartCount"], 60, service)
            took = wait_until(lambda: all(map(system.is_well, system.services().values())), WELL_SECONDS, service)
            wait_until(lambda a=answered: len(load.acknowledged) > a, 60, f"answers after {service} was killed")
            print(f"killed {service:<13} well after {took:5.1f} s, {load.refused - refused:3} requests repeated")
    finally:
        load.stop()

    wait_until(lambda: system.logged(load.acknowledged) == len(load.acknowledged), 90, "every answer in the log")
    print(f"{len(load.acknowledged)} acknowledged, all in the log; {load.refused} refused and repeated")


def test_after_down_and_up_every_prediction_and_the_model_are_there(
    system: System, customers: list[dict[str, Any]]
) -> None:
    ids = [system.predict(customer, str(uuid4())) for customer in customers[:100]]
    assert None not in ids

    system.compose("down", "--timeout", "30")
    began = time.monotonic()
    system.compose("up", "-d", "--pull", "missing", "--no-build", "--wait", "--wait-timeout", "300")
    print(f"up again in {time.monotonic() - began:.0f} s")

    wait_until(lambda: system.logged([str(each) for each in ids]) == 100, 90, "every answer in the log")
    assert system.predict(customers[0], str(uuid4())) is not None


def test_on_an_empty_machine_a_backup_brings_back_every_prediction_the_models_and_the_runs(
    system: System, customers: list[dict[str, Any]], tmp_path: Path
) -> None:
    ids = [str(system.predict(customer, str(uuid4()))) for customer in customers[:100]]
    served = system.request("/model", Authorization=f"Bearer {secret('key_simulation')}")[2]
    kept = tmp_path / "kept"
    run = {"cwd": ROOT, "env": system.environment, "capture_output": True, "text": True, "check": False}
    began = time.monotonic()
    made = subprocess.run(["docker/backup", "local", str(kept)], **run)
    assert made.returncode == 0, made.stderr
    print(f"\nbackup in {time.monotonic() - began:.0f} s:\n{made.stdout}")
    refused = subprocess.run(["docker/restore", "local", str(kept)], **run)
    assert refused.returncode == 3, refused.stderr

    system.compose("--profile", "*", "down", "--volumes", "--timeout", "30")
    began = time.monotonic()
    restored = subprocess.run(["docker/restore", "local", str(kept)], **run)
    assert restored.returncode == 0, restored.stdout + restored.stderr
    print(f"restored in {time.monotonic() - began:.0f} s:\n{restored.stdout}")
    system.compose("up", "-d", "--pull", "missing", "--no-build", "--wait", "--wait-timeout", "300")

    wait_until(lambda: system.logged(ids) == 100, 90, "every answer in the log")
    again = system.request("/model", Authorization=f"Bearer {secret('key_simulation')}")[2]
    assert json.loads(again)["model_run_id"] == json.loads(served)["model_run_id"]
    assert system.predict(customers[0], str(uuid4())) is not None
