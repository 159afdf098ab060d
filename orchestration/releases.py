"""MLflow's home for releases: evidence and approval on a run, and where the aliases champion and previous lead."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

# Sets MLflow's switches before its import; see there.
from orchestration import tracking  # noqa: F401  # isort: skip
import mlflow
from mlflow.exceptions import MlflowException

from churn.errors import RegistryUnavailable
from churn.registry import (
    CHAMPION,
    CONTRACT_SHA256_TAG,
    CONTRACT_TAG,
    DIGEST_TAG,
    PREVIOUS,
    RegisteredModel,
    Registry,
)

VERSION_TAGS = (CONTRACT_TAG, CONTRACT_SHA256_TAG, DIGEST_TAG)


class Releases:
    """Writes to one MLflow server. Every method raises RegistryUnavailable when it cannot be reached or refuses."""

    def __init__(self, registry: Registry) -> None:
        registry.check()
        self._uri = registry.tracking_uri
        mlflow.set_tracking_uri(self._uri)
        self._client = mlflow.MlflowClient(self._uri)

    def log(self, model: RegisteredModel, folder: str, files: Mapping[str, bytes]) -> None:
        """Keep files beside the run, in a folder of their own, so that no evidence replaces an older one."""
        with self._answering(), tempfile.TemporaryDirectory() as temporary:
            for name, content in files.items():
                (Path(temporary) / name).write_bytes(content)
            self._client.log_artifacts(model.run_id, temporary, folder)

    def tag(self, run_id: str, tags: Mapping[str, str], remove: tuple[str, ...] = ()) -> None:
        with self._answering():
            present = self._client.get_run(run_id).data.tags
            for name in set(remove) & set(present):
                self._client.delete_tag(run_id, name)
            for name, value in tags.items():
                self._client.set_tag(run_id, name, value)

    def make_champion(self, model: RegisteredModel, replaced: RegisteredModel | None) -> int:
        """Move `champion` to a model, registering it first where it is no version yet; `previous` keeps the replaced.

        The alias moves last: a promotion that dies before it has changed nothing that is served.
        """
        with self._answering():
            version = self._version(model)
            if replaced is not None:
                self._client.set_registered_model_alias(model.contract, PREVIOUS, self._version(replaced))
            self._client.set_registered_model_alias(model.contract, CHAMPION, version)
            return int(version)

    def step_back(self, previous: RegisteredModel) -> None:
        """Move `champion` to the previous one. One step only: `previous` then leads nowhere."""
        with self._answering():
            self._client.set_registered_model_alias(previous.contract, CHAMPION, self._version(previous))
            self._client.delete_registered_model_alias(previous.contract, PREVIOUS)

    def _version(self, model: RegisteredModel) -> str:
        versions = self._client.search_model_versions(f"name = '{model.contract}'", max_results=1_000)
        known = next((str(version.version) for version in versions if version.run_id == model.run_id), None)
        if known is not None:
            return known
        with contextlib.redirect_stderr(io.StringIO()):  # it tells the terminal what our caller tells anyway
            tags = {name: value for name, value in model.tags.items() if name in VERSION_TAGS}
            made = mlflow.register_model(f"models:/{model.model_id}", model.contract, tags=tags)
        return str(made.version)

    @contextlib.contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except (MlflowException, OSError) as error:
            words = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise RegistryUnavailable(
                f"MLflow at {self._uri} did not keep it: {words}; run the command again"
            ) from error
