"""MLflow's home for writing: runs, logged models, versions, aliases. What it writes, churn/registry.py reads.

MLflow has three more homes: orchestration/pyfunc_model.py, which it runs, orchestration/releases.py, which writes
approvals and moves aliases, and churn/registry.py, over REST.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Before the import, since MLflow reads some of them there.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")  # an outage ends a run within seconds, not minutes
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # it would tear our own bar apart
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")

import mlflow  # see above
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types.schema import AnyType, ColSpec, DataType, Schema

import churn
from churn.bundle import Bundle, load_bundle
from churn.contract import Contract
from churn.feature_store import Manifest
from churn.registry import (
    CHALLENGER,
    CONTRACT_SHA256_TAG,
    CONTRACT_TAG,
    DIGEST_TAG,
    MODEL_ID_TAG,
    Registry,
)

if TYPE_CHECKING:
    from orchestration.training import Trial

MODEL_CODE = Path(__file__).with_name("pyfunc_model.py")
NEEDED = ("mlflow", "msgspec", "numpy", "pandas", "xgboost-cpu")
"""What pyfunc_model.py and the core it loads import; pinned to what is installed."""


class Tracker:
    """Logs one tuning to one MLflow server. Not for use by several threads: MLflow's active run is global."""

    def __init__(self, registry: Registry) -> None:
        """Raises RegistryUnavailable at once when the server does not answer."""
        registry.check()
        self._registry = registry
        mlflow.set_tracking_uri(registry.tracking_uri)
        self._client = mlflow.MlflowClient(registry.tracking_uri)
        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it talks through the progress bar

    @contextlib.contextmanager
    def tuning(self, contract: Contract, manifest: Manifest, seed: int) -> Iterator[str]:
        """The parent run; it ends FAILED when the body raises."""
        with _answering(self._registry):
            mlflow.set_experiment(contract.name)
            with mlflow.start_run(run_name=f"tune {manifest.version}") as run:
                mlflow.set_tags({**_contract_tags(contract), "churnwatch.features_version": manifest.version})
                mlflow.log_params(
                    {"features_version": manifest.version, "features_sha256": manifest.sha256, "seed": seed}
                )
                yield str(run.info.run_id)

    @contextlib.contextmanager
    def trial(self, number: int, family: str, parameters: Mapping[str, Any]) -> Iterator[str]:
        """A nested run; it ends FAILED when the body raises, and then has no bundle to serve."""
        with _answering(self._registry), mlflow.start_run(run_name=f"{family} {number}", nested=True) as run:
            mlflow.log_params({"family": family, **parameters})
            yield str(run.info.run_id)

    def log_candidate(
        self,
        contract: Contract,
        bundle: Path,
        digest: str,
        metrics: Mapping[str, float],
        example: Sequence[Mapping[str, Any]],
    ) -> str:
        """Log a bundle as the active run's model and return the model's id. The digest tag comes last: the seal."""
        mlflow.log_metrics(dict(metrics))
        model_info = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(MODEL_CODE),
            artifacts={"bundle": str(bundle)},
            code_paths=[str(Path(churn.__file__).parent)],
            signature=signature(contract),
            input_example=[dict(record) for record in example],
            pip_requirements=_requirements(),
        )
        mlflow.set_tags({**_contract_tags(contract), MODEL_ID_TAG: model_info.model_id, DIGEST_TAG: digest})
        return str(model_info.model_id)

    def fetch(self, run_id: str, contract: str, folder: Path) -> Bundle:
        """A candidate as MLflow now holds it, verified: what is about to be registered."""
        model = self._registry.resolve(run_id, contract)
        self._registry.download(model, folder)
        return load_bundle(folder, model.digest)

    def finish(self, contract: Contract, best: Trial, trials: Sequence[Trial], test: Mapping[str, float]) -> int:
        """Log the comparison to the parent run and register the best as `challenger`; returns the model version."""
        tested = {f"test_{name}": value for name, value in test.items()}
        mlflow.log_metrics({**best.metrics, **tested})
        mlflow.set_tag("churnwatch.best_run_id", best.run_id)
        mlflow.log_table(_table(trials), "trials.json")
        for name, value in tested.items():
            self._client.log_metric(best.run_id, name, value)
        with contextlib.redirect_stderr(io.StringIO()):  # it tells the terminal what our caller tells anyway
            tags = _version_tags(contract, best)
            version = mlflow.register_model(f"models:/{best.model_id}", contract.name, tags=tags)
        self._client.set_registered_model_alias(contract.name, CHALLENGER, version.version)
        return int(version.version)


def signature(contract: Contract) -> ModelSignature:
    """The contract's columns, by name and whether required. Given, not inferred: inference drops nullable integers.

    Types are left to the encoder, which knows more: MLflow would refuse a whole number for a double, an integer
    that may be missing, and an ordinal by its index.
    """
    inputs = [ColSpec(AnyType(), name=feature.name, required=feature.required) for feature in contract.features]
    return ModelSignature(Schema(inputs), Schema([ColSpec(DataType.double)]))


def _contract_tags(contract: Contract) -> dict[str, str]:
    return {CONTRACT_TAG: contract.name, CONTRACT_SHA256_TAG: contract.sha256}


def _version_tags(contract: Contract, best: Trial) -> dict[str, str]:
    return {**_contract_tags(contract), DIGEST_TAG: best.digest, "churnwatch.run_id": best.run_id}


def _table(trials: Sequence[Trial]) -> dict[str, list[Any]]:
    """The trials, best first, as columns."""
    rows = [{"run_id": t.run_id, "family": t.family, **t.metrics, **t.parameters} for t in trials]
    names = list(dict.fromkeys(name for row in rows for name in row))
    return {name: [row.get(name) for row in rows] for name in names}


def _requirements() -> list[str]:
    return [f"{name}=={importlib.metadata.version(name)}" for name in NEEDED]


@contextlib.contextmanager
def _answering(registry: Registry) -> Iterator[None]:
    """Tell an outage, which ends a tuning, from an answer that MLflow did not like, which ends a trial."""
    try:
        yield
    except MlflowException:
        registry.check()
        raise
