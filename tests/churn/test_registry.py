"""The registry's faults, on a small HTTP server that answers as told. The real MLflow is in tests/integration."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from churn.bundle import Bundle
from churn.errors import BundleRefused, RegistryUnavailable, RunNotFound
from churn.model_cache import open_model
from churn.registry import RegisteredModel, Registry

RUN_ID = "a" * 32


class Answers:
    """What the server says: a status and a body by path, files of one bundle by name, and which calls it saw."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.by_path: dict[str, tuple[int, bytes]] = {}
        self.files: dict[str, bytes] = {path.name: path.read_bytes() for path in folder.iterdir()}

    def say(self, path: str, status: int, body: object) -> None:
        self.by_path[path] = status, body if isinstance(body, bytes) else json.dumps(body).encode()

    def answer(self, target: str) -> tuple[int, bytes]:
        parts = urlsplit(target)
        if parts.path.endswith("/artifacts/files"):
            name = parse_qs(parts.query)["artifact_file_path"][0].rpartition("/")[2]
            return (200, self.files[name]) if name in self.files else (404, b'{"error_code":"RESOURCE_DOES_NOT_EXIST"}')
        return self.by_path.get(parts.path, (404, b'{"error_code":"RESOURCE_DOES_NOT_EXIST"}'))


@pytest.fixture
def mlflow(bundle: Bundle) -> Iterator[tuple[Answers, Registry]]:
    answers = Answers(bundle.folder)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answers.answer(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield answers, Registry(f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    server.server_close()


def tags(bundle: Bundle) -> dict[str, object]:
    found = {
        "churnwatch.model_id": "m-1",
        "churnwatch.bundle_digest": bundle.digest,
        "churnwatch.contract": "credit_card",
        "churnwatch.contract_sha256": bundle.contract.sha256,
    }
    return {"run": {"data": {"tags": [{"key": key, "value": value} for key, value in found.items()]}}}


@pytest.fixture
def model(bundle: Bundle) -> RegisteredModel:
    return RegisteredModel(RUN_ID, "m-1", bundle.digest, "credit_card", bundle.contract.sha256)


def test_a_run_id_and_an_alias_lead_to_the_same_model(
    mlflow: tuple[Answers, Registry], bundle: Bundle, model: RegisteredModel
) -> None:
    answers, registry = mlflow
    answers.say("/api/2.0/mlflow/runs/get", 200, tags(bundle))
    answers.say("/api/2.0/mlflow/registered-models/alias", 200, {"model_version": {"run_id": RUN_ID}})

    assert registry.resolve(RUN_ID, "credit_card") == registry.resolve("champion", "credit_card") == model


def test_an_unknown_run_or_alias_is_told_with_what_to_do(mlflow: tuple[Answers, Registry]) -> None:
    for name in (RUN_ID, "champion"):
        with pytest.raises(RunNotFound, match=f"RUN_ID={name}: no model of that run in http://127.*copy a run id"):
            mlflow[1].resolve(name, "credit_card")


def test_a_run_without_a_finished_bundle_has_no_model(mlflow: tuple[Answers, Registry]) -> None:
    mlflow[0].say("/api/2.0/mlflow/runs/get", 200, {"run": {"data": {"tags": [{"key": "other", "value": "1"}]}}})

    with pytest.raises(RunNotFound):
        mlflow[1].resolve(RUN_ID, "credit_card")


@pytest.mark.parametrize(("status", "body"), [(403, b"Invalid Host header"), (500, b'{"error_code":"INTERNAL_ERROR"}')])
def test_a_server_that_refuses_is_quoted(mlflow: tuple[Answers, Registry], status: int, body: bytes) -> None:
    mlflow[0].say("/api/2.0/mlflow/runs/get", status, body)

    with pytest.raises(RegistryUnavailable, match=f"answered {status}: .*check MLFLOW_TRACKING_URI"):
        mlflow[1].resolve(RUN_ID, "credit_card")


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "http://no-such-host.invalid", "not an address"])
def test_a_server_that_cannot_be_reached_is_named(address: str) -> None:
    with pytest.raises(RegistryUnavailable, match=r"MLflow at .* cannot be reached"):
        Registry(address, timeout_seconds=1).check()


def test_a_bundle_is_downloaded_file_by_file(
    mlflow: tuple[Answers, Registry], bundle: Bundle, model: RegisteredModel, tmp_path: Path
) -> None:
    mlflow[1].download(model, tmp_path)

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == mlflow[0].files


@pytest.mark.parametrize("name", ["bundle.json", "model.ubj"])
def test_an_altered_file_is_refused_on_its_way(
    mlflow: tuple[Answers, Registry], model: RegisteredModel, tmp_path: Path, name: str
) -> None:
    mlflow[0].files[name] += b" "

    with pytest.raises(BundleRefused, match=f"{name} has sha256 .* it was altered"):
        mlflow[1].download(model, tmp_path)


def test_a_file_that_is_gone_is_named(mlflow: tuple[Answers, Registry], model: RegisteredModel, tmp_path: Path) -> None:
    del mlflow[0].files["golden.json"]

    with pytest.raises(BundleRefused, match=r"golden.json is gone from"):
        mlflow[1].download(model, tmp_path)


@pytest.mark.parametrize("digest", ["../../../home", "", "a" * 63, "A" * 64, "/etc"])
def test_a_digest_that_would_name_another_folder_is_refused(
    digest: str, mlflow: tuple[Answers, Registry], bundle: Bundle, tmp_path: Path
) -> None:
    """Whoever may write tags in MLflow could else have a service delete a folder, as a damaged copy in its cache."""
    found = tags(bundle)
    found["run"]["data"]["tags"][1]["value"] = digest  # type: ignore[index]
    mlflow[0].say("/api/2.0/mlflow/runs/get", 200, found)

    with pytest.raises(BundleRefused, match="expected 64 hexadecimal digits"):
        open_model(RUN_ID, "credit_card", mlflow[1], tmp_path)


@pytest.mark.parametrize("name", ["../x", "..", "", "a/b", ".hidden", "x\0"])
def test_a_file_name_that_leads_out_of_the_bundle_is_refused(
    name: str, mlflow: tuple[Answers, Registry], model: RegisteredModel, tmp_path: Path
) -> None:
    manifest = json.dumps({"files": {name: "0" * 64}}).encode()
    mlflow[0].files["bundle.json"] = manifest

    with pytest.raises(BundleRefused, match="no name of a file of a bundle"):
        mlflow[1].download(replace(model, digest=hashlib.sha256(manifest).hexdigest()), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_more_is_read_than_a_file_may_hold(
    mlflow: tuple[Answers, Registry], model: RegisteredModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("churn.registry.LARGEST_FILE_BYTES", 100)

    with pytest.raises(RegistryUnavailable, match="more than 100 bytes"):
        mlflow[1].download(model, tmp_path)
