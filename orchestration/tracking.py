"""MLflow's home for writing: runs, logged models, versions, aliases. What it writes, churn/registry.py reads.

MLflow has four more homes: orchestration/pyfunc_model.py, which it runs, orchestration/tunings.py, which reads past
tunings, orchestration/releases.py, which writes approvals and moves aliases, and churn/registry.py, over REST.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import io
import json
import logging
import os
import re
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import structlog

# Before the import, since MLflow reads some of them there.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # `_patiently` asks again, and looks before it does
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # it would tear our own bar apart
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")

import mlflow  # see above
from mlflow.entities import LoggedModel, LoggedModelOutput, Metric, Param, RunTag
from mlflow.exceptions import MlflowException, RestException
from mlflow.models import Model, ModelSignature
from mlflow.types.schema import AnyType, ColSpec, DataType, Schema

from churn.bundle import Bundle, load_bundle
from churn.contract import Contract
from churn.errors import ChurnwatchError, RegistryUnavailable
from churn.registry import (
    CHALLENGER,
    CONTRACT_SHA256_TAG,
    CONTRACT_TAG,
    DIGEST_TAG,
    MODEL_ID_TAG,
    Registry,
)
from orchestration.model_code import MODEL_CODE, pack_served_code
from orchestration.outcome import Outcome, Trial
from orchestration.tunings import (
    ALIVE_TAG,
    FAMILY_TAG,
    KIND_TAG,
    LATEST,
    NUMBER_TAG,
    OUTCOME_TAG,
    PARAMETERS_TAG,
    PARENT_TAG,
    REASON_TAG,
    SIGN_OF_LIFE_SECONDS,
    STATUS_TAG,
    TUNING,
    WORKER_TAG,
    Interrupted,
    find_interrupted,
    read_outcomes,
)

if importlib.util.find_spec("dbruntime") is None:
    # MLflow tries to import Databricks' runtime several times a call, and Python looks for it in vain along all of its
    # path: a quarter of what a call costs here. Marked as absent, it is not looked for.
    sys.modules.setdefault("dbruntime", None)  # type: ignore[arg-type]  # as importlib documents it

log = structlog.get_logger()
Answer = TypeVar("Answer")
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 15.0
SAVING_A_MODEL = threading.Lock()
"""MLflow loads a model's code when it saves it, by a name that all threads of a process share."""
DESCRIPTION_TAG = "mlflow.note.content"
"""What MLflow shows as a run's description."""
TABLES_TAG = "mlflow.loggedArtifacts"
"""Where MLflow looks for the artifacts that it offers as tables."""
NEEDED = ("mlflow", "msgspec", "numpy", "pandas", "xgboost-cpu")
"""What pyfunc_model.py and the core it loads import; pinned to what is installed."""


class Tracker:
    """Logs tunings to one MLflow server. Safe to share between threads.

    A call that meets an outage is made again for `outage_seconds`; then it raises RegistryUnavailable.
    """

    def __init__(self, registry: Registry, outage_seconds: float = 0.0) -> None:
        """Raises RegistryUnavailable when the server does not answer."""
        self._registry, self._outage_seconds = registry, outage_seconds
        self._experiment_of: dict[str, str] = {}
        self._patiently(registry.check)
        mlflow.set_tracking_uri(registry.tracking_uri)
        self._client = mlflow.MlflowClient(registry.tracking_uri)
        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it talks through the progress bar

    @contextlib.contextmanager
    def tuning(self, contract: Contract, facts: Mapping[str, Any], resumed: str | None = None) -> Iterator[str]:
        """The parent run, new or one to go on with; it shows signs of life, and ends FAILED when the body raises.

        `facts` become its parameters: what the search was asked for, enough to resume it.
        """
        run_id = resumed or self._patiently(lambda: self._open(contract, facts))
        if resumed:
            self._patiently(lambda: self._client.update_run(resumed, "RUNNING"))
        status = "FAILED"
        try:
            with self._alive(run_id):
                yield run_id
            status = "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            with contextlib.suppress(ChurnwatchError):  # while MLflow is away it stays RUNNING, without signs of life
                self._patiently(lambda: self._client.set_terminated(run_id, status), wait=status == "FINISHED")

    def begin(self, parent_run_id: str, number: int, family: str, parameters: Mapping[str, Any]) -> str:
        """A nested run for a trial."""
        tags = {
            PARENT_TAG: parent_run_id,
            NUMBER_TAG: str(number),
            FAMILY_TAG: family,
            PARAMETERS_TAG: json.dumps(dict(parameters)),
            WORKER_TAG: f"{socket.gethostname()}:{os.getpid()}",
        }

        def create() -> str:
            if parent_run_id not in self._experiment_of:
                self._experiment_of[parent_run_id] = self._client.get_run(parent_run_id).info.experiment_id
            experiment_id = self._experiment_of[parent_run_id]
            run = self._client.create_run(experiment_id, tags=tags, run_name=f"{family} {number}")
            return str(run.info.run_id)

        run_id = self._patiently(create)
        given = [Param(name, str(value)) for name, value in {"family": family, **parameters}.items()]
        self._patiently(lambda: self._client.log_batch(run_id, params=given))
        return run_id

    def end(self, run_id: str, outcome: Outcome) -> None:
        """Close a trial's run with what a resumed search needs to know of it."""
        told = {OUTCOME_TAG: outcome.to_json(), STATUS_TAG: outcome.status}
        if outcome.reason:
            told[REASON_TAG] = outcome.reason[:500]
        metrics = {} if outcome.status != "pruned" else {"expected_log_loss": outcome.loss}

        def close() -> None:
            self._client.log_batch(run_id, metrics=_metrics(metrics), tags=[RunTag(k, v) for k, v in told.items()])
            self._client.set_terminated(run_id, "FAILED" if outcome.status == "failed" else "FINISHED")

        self._patiently(close)

    def log_candidate(
        self,
        run_id: str,
        contract: Contract,
        bundle: Path,
        digest: str,
        metrics: Mapping[str, float],
        example: Sequence[Mapping[str, Any]],
    ) -> str:
        """Log a bundle as the run's model and return the model's id. The digest tag comes last: the seal."""

        def log() -> str:
            run = self._client.get_run(run_id)
            model = self._client.create_logged_model(
                run.info.experiment_id, name="model", source_run_id=run_id, params=run.data.params
            )
            try:
                self._save(model, contract, bundle, example)
            except Exception:
                with contextlib.suppress(Exception):  # MLflow may be what failed
                    self._client.finalize_logged_model(model.model_id, "FAILED")
                raise
            self._client.finalize_logged_model(model.model_id, "READY")
            self._client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
            tags = {**_contract_tags(contract), MODEL_ID_TAG: model.model_id, DIGEST_TAG: digest}
            self._client.log_batch(
                run_id, metrics=_metrics(metrics, model.model_id), tags=[RunTag(k, v) for k, v in tags.items()]
            )
            return str(model.model_id)

        try:
            return self._patiently(log)
        except Exception:
            with contextlib.suppress(Exception):  # where MLflow still answers; else who resumes closes the run
                self._client.set_terminated(run_id, "FAILED")
            raise

    def _save(self, model: LoggedModel, contract: Contract, bundle: Path, example: Sequence[Mapping[str, Any]]) -> None:
        """`log_model` would also load what it saves and try it on the example, and only warn; a bundle's golden answers
        are checked wherever it is loaded, and that its code loads elsewhere by tests."""
        with tempfile.TemporaryDirectory() as home:
            folder = Path(home) / "model"
            with SAVING_A_MODEL:
                mlflow.pyfunc.save_model(
                    path=str(folder),
                    mlflow_model=Model(
                        model.artifact_location, model.source_run_id, model_uuid=model.model_id, model_id=model.model_id
                    ),
                    python_model=str(MODEL_CODE),
                    artifacts={"bundle": str(bundle)},
                    code_paths=[str(pack_served_code(Path(home)))],
                    signature=signature(contract),
                    input_example=[dict(record) for record in example],
                    pip_requirements=_requirements(),
                )
            self._client.log_model_artifacts(model.model_id, str(folder))

    def outcomes(self, parent_run_id: str) -> list[Outcome]:
        """How the trials of a tuning have ended, by number. Runs that were left open are closed as KILLED; a trial
        whose process died with it three times counts as failed, so that it does not end a fourth."""
        return self._patiently(lambda: read_outcomes(self._client, parent_run_id))

    def interrupted(self, contract: Contract, which: str = LATEST) -> Interrupted:
        """The newest tuning of a contract that did not finish, or the one of a run id. Raises NothingToResume."""
        return self._patiently(lambda: find_interrupted(self._client, contract, which))

    def fetch(self, run_id: str, contract: str, folder: Path) -> Bundle:
        """A candidate as MLflow now holds it, verified: what is about to be registered."""

        def download() -> Bundle:
            model = self._registry.resolve(run_id, contract)
            self._registry.download(model, folder)
            return load_bundle(folder, model.digest)

        return self._patiently(download)

    def log_files(self, run_id: str, folder: Path) -> None:
        """Everything in a folder as artifacts of a run."""
        self._patiently(lambda: self._client.log_artifacts(run_id, str(folder)))

    def log_table(self, run_id: str, table: Mapping[str, Sequence[Any]], name: str) -> None:
        """Columns as a table that MLflow's pages can show and compare, in place of an earlier one.

        MLflow's own `log_table` appends: a tuning that was resumed, or a call made again, would show trials twice.
        """
        rows = [list(row) for row in zip(*table.values(), strict=True)]
        text = json.dumps({"columns": list(table), "data": rows})
        mark = json.dumps([{"path": name, "type": "table"}])

        def log() -> None:
            self._client.log_text(run_id, text, name)
            self._client.set_tag(run_id, TABLES_TAG, mark)

        self._patiently(log)

    def register(self, parent_run_id: str, contract: Contract, best: Trial, test: Mapping[str, float]) -> int:
        """Register the best as `challenger`, its alias last; returns the model version, the same when asked again."""

        def register() -> int:
            tested = {f"test_{name}": value for name, value in test.items()}
            self._client.log_batch(best.run_id, metrics=_metrics(tested))
            note = f"Best: {best.family}, RUN_ID={best.run_id}. Side by side: Artifacts, comparison/candidates.html."
            tags = [RunTag("churnwatch.best_run_id", best.run_id), RunTag(DESCRIPTION_TAG, note)]
            self._client.log_batch(parent_run_id, metrics=_metrics({**best.metrics, **tested}), tags=tags)
            known = self._client.search_model_versions(f"name='{contract.name}' and run_id='{best.run_id}'")
            version = known[0] if known else self._version(contract, best)
            self._client.set_registered_model_alias(contract.name, CHALLENGER, version.version)
            return int(version.version)

        return self._patiently(register)

    def measured(self, run_id: str, metrics: Mapping[str, float]) -> None:
        """Log what is known of a run's data."""
        self._patiently(lambda: self._client.log_batch(run_id, metrics=_metrics(metrics)))

    def _open(self, contract: Contract, facts: Mapping[str, Any]) -> str:
        experiment_id = self._experiment(contract.name)
        tags = {**_contract_tags(contract), KIND_TAG: TUNING, "churnwatch.features_version": facts["features_version"]}
        run = self._client.create_run(experiment_id, tags=tags, run_name=f"tune {facts['features_version']}")
        params = [Param(name, str(value)) for name, value in facts.items()]
        self._client.log_batch(run.info.run_id, params=params)
        return str(run.info.run_id)

    def _experiment(self, name: str) -> str:
        """By id, made where it is absent; another tuning may be making it too."""
        known = self._client.get_experiment_by_name(name)
        if known is None:
            with contextlib.suppress(RestException):
                return str(self._client.create_experiment(name))
            known = self._client.get_experiment_by_name(name)
        return str(known.experiment_id)

    def _version(self, contract: Contract, best: Trial) -> Any:
        with contextlib.redirect_stderr(io.StringIO()):  # it tells the terminal what our caller tells anyway
            tags = _version_tags(contract, best)
            return mlflow.register_model(f"models:/{best.model_id}", contract.name, tags=tags)

    @contextlib.contextmanager
    def _alive(self, run_id: str) -> Iterator[None]:
        """Say every few seconds that this tuning goes on, so that nobody resumes it meanwhile."""
        done = threading.Event()

        def tell() -> None:
            while True:
                with contextlib.suppress(Exception):  # an outage is told by whoever needs an answer
                    self._client.set_tag(run_id, ALIVE_TAG, datetime.now(UTC).isoformat())
                if done.wait(SIGN_OF_LIFE_SECONDS):
                    return

        thread = threading.Thread(target=tell, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()

    def _patiently(self, call: Callable[[], Answer], wait: bool = True) -> Answer:
        deadline = time.monotonic() + (self._outage_seconds if wait else 0.0)
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                with _answering(self._registry):
                    return call()
            except RegistryUnavailable as error:
                if time.monotonic() + pause > deadline:
                    raise
                log.warning("mlflow_unavailable", reason=str(error), retry_seconds=pause)
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


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


def _metrics(values: Mapping[str, Any], model_id: str | None = None) -> list[Metric]:
    now = int(time.time() * 1_000)
    return [Metric(name, float(value), now, 0, model_id=model_id) for name, value in values.items()]


def _requirements() -> list[str]:
    return [f"{name}=={importlib.metadata.version(name)}" for name in NEEDED]


@contextlib.contextmanager
def _answering(registry: Registry) -> Iterator[None]:
    """Tell an outage, which ends a tuning, from an answer that MLflow did not like, which ends a trial."""
    try:
        yield
    except (MlflowException, OSError) as error:
        registry.check()
        if _servers_fault(error):
            words = " ".join(str(error).split())[:300]
            raise RegistryUnavailable(
                f"MLflow at {registry.tracking_uri} cannot keep what it is given ({words}); look at its log, its "
                "database and where it keeps artifacts"
            ) from error
        raise


def _servers_fault(error: Exception) -> bool:
    """A status of 500 or more: a database that is locked, artifacts that S3 or a full disk do not take."""
    if isinstance(error, RestException):
        return bool(error.get_http_status_code() >= 500)
    status = getattr(getattr(error, "response", None), "status_code", 0)  # of uploads, which speak HTTP themselves
    return status >= 500 or re.search(r"failed with error code 5\d\d|Max retries exceeded", str(error)) is not None
