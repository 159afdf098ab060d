"""Where a RUN_ID leads: MLflow's runs, aliases and model files over its REST API.

Serving rooms need three calls of MLflow, so they make them and do not carry MLflow itself. The other home of MLflow
is orchestration/tracking.py, which writes what is read here.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import urllib3

from churn.bundle import MANIFEST
from churn.errors import BundleRefused, RegistryUnavailable, RunNotFound, shown

RUN_ID_PATTERN = re.compile(r"[0-9a-f]{32}")
DIGEST_PATTERN = re.compile(r"[0-9a-f]{64}")
"""What MLflow calls a digest becomes the name of a folder: anything else must never be one."""
FILE_NAME_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
LARGEST_FILE_BYTES = 1 << 29
"""Of one file of a bundle; those of large models are some tens of megabytes."""
DIGEST_TAG = "churnwatch.bundle_digest"
CONTRACT_TAG = "churnwatch.contract"
CONTRACT_SHA256_TAG = "churnwatch.contract_sha256"
MODEL_ID_TAG = "churnwatch.model_id"
"""Tags of a run, written once its bundle is complete: a run without them has no model to serve."""

CHAMPION, PREVIOUS, CHALLENGER = "champion", "previous", "challenger"
"""Aliases of a contract's registered model: the one approved to serve, the one before it, the newest tuned."""
APPROVED_AT_TAG = "churnwatch.promoted_at"
APPROVED_DIGEST_TAG = "churnwatch.promoted_digest"
WITHDRAWN_AT_TAG = "churnwatch.rolled_back_at"
"""A run may be deployed when it was promoted as the bundle it still is, and not rolled back since."""

BUNDLE_FOLDER = "artifacts/bundle"
"""Where a logged model keeps its bundle."""


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a contract's registered model, as `releases` lists it."""

    version: int
    run_id: str
    aliases: tuple[str, ...]
    promoted_at: str | None
    withdrawn_at: str | None


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """A run with a bundle. `digest` is the sha256 of its bundle.json, which names the sha256 of every other file."""

    run_id: str
    model_id: str
    digest: str
    contract: str
    contract_sha256: str
    tags: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def approval_problem(self) -> str:
        """Why this model may not be deployed, as the end of a sentence; empty when it may."""
        tags = self.tags
        if APPROVED_AT_TAG not in tags:
            return f"was never promoted; run 'python -m orchestration promote {self.run_id}' first"
        if WITHDRAWN_AT_TAG in tags:
            when = tags[WITHDRAWN_AT_TAG]
            return f"was rolled back at {when}; choose another, or promote it again"
        if tags.get(APPROVED_DIGEST_TAG) != self.digest:
            return "was promoted as another bundle than it is now; promote it again"
        return ""


class _Response(NamedTuple):
    status: int
    data: bytes


class Registry:
    """Asks one MLflow server. Safe to share between threads."""

    def __init__(self, tracking_uri: str, timeout_seconds: float = 5.0) -> None:
        self.tracking_uri = tracking_uri.rstrip("/")
        timeout = urllib3.Timeout(connect=timeout_seconds, read=timeout_seconds)
        retry = urllib3.Retry(total=2, backoff_factor=0.2, redirect=0, status_forcelist=(502, 503, 504))
        self._pool = urllib3.PoolManager(timeout=timeout, retries=retry)

    def check(self) -> None:
        """Prove that the server answers its API; `/health` says 200 even when every call is refused."""
        self._call("mlflow/experiments/get", experiment_id="0")

    def resolve(self, run_or_alias: str, contract: str) -> RegisteredModel:
        """The model of a run id, or of an alias of the contract's registered model.

        Raises RunNotFound, or RegistryUnavailable when the server cannot be reached or refuses.
        """
        run_id = run_or_alias
        if not RUN_ID_PATTERN.fullmatch(run_or_alias):
            answer = self._call("mlflow/registered-models/alias", name=contract, alias=run_or_alias)
            run_id = str(answer.get("model_version", {}).get("run_id", ""))
        run = self._call("mlflow/runs/get", run_id=run_id) if run_id else {}
        tags = {tag["key"]: tag["value"] for tag in run.get("run", {}).get("data", {}).get("tags", ())}
        try:
            model = RegisteredModel(
                run_id, tags[MODEL_ID_TAG], tags[DIGEST_TAG], tags[CONTRACT_TAG], tags[CONTRACT_SHA256_TAG], tags
            )
        except KeyError:
            raise RunNotFound(run_or_alias, self.tracking_uri) from None
        if not DIGEST_PATTERN.fullmatch(model.digest):
            raise BundleRefused(
                run_id, f"its digest in MLflow is {shown(model.digest)}: expected 64 hexadecimal digits"
            )
        return model

    def versions(self, contract: str) -> list[Version]:
        """Every version of the contract's registered model, the newest first. Raises RegistryUnavailable."""
        model = self._call("mlflow/registered-models/get", name=contract).get("registered_model", {})
        aliases: dict[int, list[str]] = {}
        for alias in model.get("aliases", ()):
            aliases.setdefault(int(alias["version"]), []).append(str(alias["alias"]))
        found: list[Version] = []
        token = ""
        while model:
            query = {"filter": f"name='{contract}'", "max_results": "200", "page_token": token}
            page = self._call("mlflow/model-versions/search", **query)
            for each in page.get("model_versions", ()):
                run = self._call("mlflow/runs/get", run_id=each["run_id"])
                tags = {tag["key"]: tag["value"] for tag in run.get("run", {}).get("data", {}).get("tags", ())}
                number = int(each["version"])
                named = tuple(sorted(aliases.get(number, ())))
                at, withdrawn = tags.get(APPROVED_AT_TAG), tags.get(WITHDRAWN_AT_TAG)
                found.append(Version(number, str(each["run_id"]), named, at, withdrawn))
            token = page.get("next_page_token", "")
            if not token:
                break
        return sorted(found, key=lambda one: -one.version)

    def download(self, model: RegisteredModel, folder: Path) -> None:
        """Fetch a bundle into an empty folder, every file checked against the digest on its way.

        Raises BundleRefused when a file is not what was registered, RegistryUnavailable, or OSError.
        """
        manifest = self._file(model, MANIFEST)
        found = hashlib.sha256(manifest).hexdigest()
        if found != model.digest:
            reason = f"{MANIFEST} has sha256 {found[:12]}…, registered was {model.digest[:12]}…; it was altered"
            raise BundleRefused(model.run_id, reason)
        try:
            files = {str(name): str(sha256) for name, sha256 in json.loads(manifest)["files"].items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise BundleRefused(model.run_id, f"{MANIFEST} cannot be read: {error}") from error
        for name, sha256 in files.items():
            if not FILE_NAME_PATTERN.fullmatch(name):
                raise BundleRefused(model.run_id, f"{shown(name)} in {MANIFEST} is no name of a file of a bundle")
            payload = self._file(model, name)
            found = hashlib.sha256(payload).hexdigest()
            if found != sha256:
                reason = f"{name} has sha256 {found[:12]}…, expected {sha256[:12]}…; it was altered"
                raise BundleRefused(model.run_id, reason)
            (folder / name).write_bytes(payload)
        (folder / MANIFEST).write_bytes(manifest)

    def _file(self, model: RegisteredModel, name: str) -> bytes:
        path = f"/ajax-api/2.0/mlflow/logged-models/{quote(model.model_id, safe='')}/artifacts/files"
        response = self._get(path, {"artifact_file_path": f"{BUNDLE_FOLDER}/{name}"})
        if response.status == 200:
            return response.data
        if response.status == 404 or b"RESOURCE_DOES_NOT_EXIST" in response.data[:500]:
            raise BundleRefused(model.run_id, f"{name} is gone from {self.tracking_uri} (model {model.model_id})")
        raise self._refused(response)

    def _call(self, method: str, **query: str) -> Mapping[str, Any]:
        response = self._get(f"/api/2.0/{method}", query)
        try:
            answer = json.loads(response.data)
        except ValueError:
            raise self._refused(response) from None
        if response.status == 200 and isinstance(answer, dict):
            return answer
        absent = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # the latter: an alias that is not set
        if isinstance(answer, dict) and answer.get("error_code") in absent:
            return {}
        raise self._refused(response)

    def _get(self, path: str, query: Mapping[str, str]) -> _Response:
        """The answer, read no further than a file may be long."""
        try:
            url = f"{self.tracking_uri}{path}?{urlencode(query)}"
            response = self._pool.request("GET", url, preload_content=False)
            try:
                data = response.read(LARGEST_FILE_BYTES + 1)
                if len(data) > LARGEST_FILE_BYTES:
                    raise ValueError(f"more than {LARGEST_FILE_BYTES:,} bytes at {path}")
            finally:
                response.release_conn()
            return _Response(response.status, data)
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise RegistryUnavailable(
                f"MLflow at {self.tracking_uri} cannot be reached ({reason}); start it, or set MLFLOW_TRACKING_URI"
            ) from error

    def _refused(self, response: _Response) -> RegistryUnavailable:
        words = response.data[:200].decode("utf-8", "replace").strip()
        return RegistryUnavailable(
            f"MLflow at {self.tracking_uri} answered {response.status}: {words}; check MLFLOW_TRACKING_URI and the "
            "server's --allowed-hosts"
        )
