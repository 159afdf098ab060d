"""What docker-compose.yml and the Dockerfile promise, read from the files: no engine is needed, but its compose is."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENTS = ("local", "cloud")
COMMANDS = {"train", "backup"}
"""Started by `docker compose run`, not by `up`: they need no health check and no restart."""
PORTLESS = {"simulate", "report"}


def compose_is_there() -> bool:
    docker = shutil.which("docker")
    return docker is not None and subprocess.run([docker, "compose", "version"], capture_output=True).returncode == 0


needs_compose = pytest.mark.skipif(not compose_is_there(), reason="no docker compose on this machine")


def compose(environment: str, *arguments: str) -> str:
    own = {name: value for name, value in os.environ.items() if not name.startswith("COMPOSE_")}
    command = ["docker", "compose", "--file", "docker-compose.yml", "--env-file", f".env.{environment}", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def model() -> dict[str, Any]:
    """Everything that compose knows, of all profiles, with the values of .env.local."""
    everything: dict[str, Any] = json.loads(compose("local", "--profile", "*", "config", "--format", "json"))
    return everything


@pytest.fixture
def services(model: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = model["services"]
    return found


@needs_compose
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_each_environment_is_a_valid_file_without_a_warning(environment: str) -> None:
    assert compose(environment, "config", "--quiet") == ""


@needs_compose
def test_the_emulator_and_simulated_traffic_stay_out_of_the_cloud() -> None:
    local, cloud = (set(compose(name, "config", "--services").split()) for name in ENVIRONMENTS)

    assert local - cloud == {"emulator", "simulate"}
    assert cloud - local == set()


@needs_compose
def test_no_service_can_gain_rights_or_write_its_root_file_system(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service.get("privileges") is None, name
        assert service["user"].split(":")[0] not in ("", "0", "root"), name


@needs_compose
def test_every_service_is_bounded(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert int(service["mem_limit"]) > 0, name
        assert service["cpus"] > 0, name
        assert service["pids_limit"] > 0, name
        assert set(service["logging"]["options"]) == {"max-size", "max-file"}, name


@needs_compose
def test_every_service_restarts_and_tells_its_health_by_a_route(services: dict[str, Any]) -> None:
    for name, service in services.items():
        if name in COMMANDS:
            assert service["restart"] == "no"
            continue
        assert service["restart"] == "unless-stopped", name
        if name not in PORTLESS:
            words = " ".join(service["healthcheck"]["test"])
            assert re.search(r"healthy \d+ /|https?://127.0.0.1:\d+/|ping|pg_isready", words), (name, words)


@needs_compose
def test_mlflow_is_asked_by_its_api_since_its_health_route_says_yes_to_all(services: dict[str, Any]) -> None:
    assert "/api/2.0/mlflow/" in services["mlflow"]["healthcheck"]["test"][-1]


@needs_compose
def test_services_wait_for_the_health_of_what_they_need(services: dict[str, Any]) -> None:
    waits = {
        (name, other, wait["condition"])
        for name, service in services.items()
        for other, wait in service.get("depends_on", {}).items()
    }

    assert {condition for _, _, condition in waits} == {"service_healthy"}
    assert {
        ("gateway", "web"),
        ("web", "mongo"),
        ("web", "mlflow"),
        ("mlflow", "postgres"),
        ("stream", "emulator"),
    } <= {(name, other) for name, other, _ in waits}


@needs_compose
def test_only_the_gateway_can_be_published_beyond_loopback(services: dict[str, Any]) -> None:
    cloud = json.loads(compose("cloud", "--profile", "*", "config", "--format", "json"))["services"]
    for found in (services, cloud):
        open_ports = {
            (name, port["target"])
            for name, service in found.items()
            for port in service.get("ports", [])
            if port.get("host_ip") != "127.0.0.1"
        }
        assert open_ports <= {("gateway", 8443)}
    assert not services["mongo"].get("ports")
    assert not services["postgres"].get("ports")


@needs_compose
def test_databases_are_on_networks_without_a_way_out(model: dict[str, Any]) -> None:
    for name, network in (("mongo", "data"), ("postgres", "sql")):
        assert list(model["services"][name]["networks"]) == [network]
        assert model["networks"][network]["internal"] is True
    seen = {name for name, service in model["services"].items() if "sql" in service["networks"]}
    assert seen == {"postgres", "mlflow", "prefect"}


@needs_compose
def test_no_password_is_in_an_environment_or_a_command(services: dict[str, Any]) -> None:
    allowed = re.compile(r"_FILE$|^AWS_(ACCESS_KEY_ID|SECRET_ACCESS_KEY)$")  # the emulator's words, no secret
    for name, service in services.items():
        for variable, value in service.get("environment", {}).items():
            secret = re.search(r"PASSWORD|SECRET|TOKEN|KEY", variable) and not allowed.search(variable)
            assert not secret, (name, variable)
            assert not re.search(r"://[^/]*:[^/]*@", str(value)), (name, variable)
        assert not re.search(r"://[^/\s]*:[^/\s]*@", json.dumps(service.get("command"))), name


@needs_compose
def test_each_service_reads_the_log_as_its_own_user(services: dict[str, Any]) -> None:
    for name in ("web", "stream", "watch", "report", "train", "backup"):
        mounted = {secret["source"]: secret.get("target", "") for secret in services[name]["secrets"]}
        addresses = {source for source in mounted if source.startswith("store_url")}
        assert addresses == {f"store_url_{name}"}, name
        assert mounted[f"store_url_{name}"].endswith("store_url")


@needs_compose
def test_every_secret_of_the_compose_file_is_made(model: dict[str, Any], tmp_path: Path) -> None:
    made = tmp_path / "secrets"
    subprocess.run([ROOT / "docker" / "secrets", made], check=True, capture_output=True)

    assert {Path(secret["file"]).name for secret in model["secrets"].values()} <= {path.name for path in made.iterdir()}
    assert made.stat().st_mode & 0o777 == 0o700


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on this machine")
    return tmp_path / "secrets"


def test_secrets_are_random_and_stay_when_made_again(secrets: Path) -> None:
    def make() -> dict[str, str]:
        subprocess.run([ROOT / "docker" / "secrets", secrets], check=True, capture_output=True)
        return {path.name: path.read_text() for path in secrets.iterdir()}

    first = make()
    (secrets / "store_url_web").unlink()
    second = make()

    changed = {name for name in first if first[name] != second[name]}
    assert changed == {"store_url_web"}
    assert len(set(first.values())) == len(first)
    assert re.fullmatch(r"mongodb://web:[0-9a-f]{48}@mongo:27017/churnwatch\n", second["store_url_web"])


def test_git_never_sees_secrets_and_the_engine_only_what_images_hold() -> None:
    assert "secrets/" in (ROOT / ".gitignore").read_text().split()
    lines = (ROOT / ".dockerignore").read_text().split("\n")
    sent = [line for line in lines if line.startswith("!")]
    assert "*" in lines
    assert not any(word in line for line in sent for word in ("secrets", ".env", ".git", "data", "tests"))


def test_every_user_of_mongodb_is_a_service_with_rights_on_named_collections() -> None:
    script = (ROOT / "docker" / "mongo" / "users.js").read_text()

    assert re.findall(r"^  (\w+): \[CHECK", script, re.MULTILINE) == ["web", "stream", "watch", "report", "train"]
    assert "readWrite" not in script
    assert script.count('"remove"') == 1
    assert re.findall(r"^  (\w+): .*REMOVE", script, re.MULTILINE) == ["watch", "backup"]
    # Shards of a stream, and the turns of promotions and retrainings.
    leases = re.findall(r"^  (\w+): \[[^\]]*shards: CHANGE", script, re.MULTILINE)
    assert leases == ["stream", "train"]


@needs_compose
def test_every_room_that_meets_ids_of_customers_has_the_one_key_of_pseudonyms(services: dict[str, Any]) -> None:
    sources = {name: {secret["source"] for secret in one.get("secrets", ())} for name, one in services.items()}

    rooms = {name for name, some in sources.items() if "pseudonym_key" in some}
    assert rooms == {"web", "stream", "train", "flows", "watch"}


def test_services_may_create_every_index_that_the_store_asks_for() -> None:
    from churn.store.mongo_database import INDEXES

    check = next(line for line in (ROOT / "docker/mongo/users.js").read_text().split("\n") if "const CHECK" in line)

    assert set(re.findall(r'(\w+): \["createIndex"\]', check)) == set(INDEXES)


def test_a_key_is_put_in_force_at_the_first_start_and_left_alone_after(tmp_path: Path) -> None:
    """The start script's shortcut knows the hash that the service keeps."""
    from web_service.keys import digest

    token = "cw_" + "a" * 64
    script = (ROOT / "docker" / "bin" / "serve-with-keys").read_text()
    pipe = re.search(r"hash=\$\((.*)\)$", script, re.MULTILINE)
    assert pipe is not None
    (tmp_path / "key").write_text(token + "\n")
    command = pipe.group(1).replace("$file", str(tmp_path / "key"))
    found = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout.strip()

    assert found == digest(token)


def dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text()


def test_the_dockerfile_has_a_target_a_room_and_none_runs_as_root() -> None:
    stages = re.split(r"^FROM ", dockerfile(), flags=re.MULTILINE)[1:]
    named = {re.match(r"\S+ AS (\S+)", stage).group(1): stage for stage in stages}  # type: ignore[union-attr]

    rooms = {"web", "stream", "train", "monitor", "report", "simulate", "servers", "emulator"}
    assert rooms <= set(named)
    for name in rooms:
        assert re.search(r"^USER 10001:10001$", named[name], re.MULTILINE), name


def test_images_hold_one_room_and_pinned_packages_only() -> None:
    text = dockerfile()

    assert not re.search(r"^# *syntax=", text, re.MULTILINE)
    assert not re.search(r"RUN pip install|COPY \. ", text)
    assert set(re.findall(r"install-requirements (\S+\.txt)", text)) <= {
        f"requirements/{path.name}" for path in (ROOT / "requirements").iterdir()
    }


def test_every_executable_that_the_compose_file_calls_is_in_the_image() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    called = set(re.findall(r"\b(healthy|with-secrets|keep-reporting|serve-with-keys)\b(?=[,\]\n])", text))

    assert called == {"healthy", "with-secrets", "keep-reporting", "serve-with-keys"}
    for name in called | {"install-requirements"}:
        assert os.access(ROOT / "docker" / "bin" / name, os.X_OK), name


def test_prometheus_has_the_same_jobs_and_rules_in_docker() -> None:
    there = (ROOT / "monitoring" / "prometheus" / "prometheus.yml").read_text()
    here = (ROOT / "docker" / "prometheus" / "prometheus.yml").read_text()

    for pattern in (r"job_name: (\w+)", r"^  - (\w+\.yml)$"):
        assert re.findall(pattern, here, re.MULTILINE) == re.findall(pattern, there, re.MULTILINE)
    assert "127.0.0.1" not in here


def test_alertmanager_has_the_same_routes_in_docker() -> None:
    there = (ROOT / "monitoring" / "alertmanager" / "alertmanager.yml").read_text()
    here = (ROOT / "docker" / "alertmanager" / "alertmanager.yml").read_text()

    here = re.sub(r" +http_config:\n +authorization: .*\n", "", here)  # the token, where it is not loopback
    there = there.replace("127.0.0.1:8085", "watch:8085").replace("127.0.0.1:8087", "flows:8087")
    assert here.partition("\n")[2] == there
