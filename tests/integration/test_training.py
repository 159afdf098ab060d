"""From a raw file to a served model with the real parts: an S3 emulator, a Prefect server and an MLflow server."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from churn.bundle import Bundle
from churn.contract import Contract
from churn.encoder import frame_records
from churn.errors import BundleRefused
from churn.model_cache import open_model
from churn.pseudonym import pseudonyms, read_key
from churn.registry import Registry
from churn.split import split
from churn.store import open_store
from orchestration.families import HOMES
from tests.training_servers import REAL, Servers

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def ingested(servers: Servers) -> dict[str, Any]:
    return servers.succeed("ingest", str(servers.data()))


@pytest.fixture(scope="module")
def tuned(servers: Servers, ingested: dict[str, Any]) -> dict[str, Any]:
    return servers.succeed("tune", "--version", ingested["version"], "--trials", "5")


@pytest.fixture(scope="module")
def served(servers: Servers, tuned: dict[str, Any]) -> Bundle:
    return open_model(tuned["run_id"], "credit_card", Registry(servers.tracking_uri), servers.folder / "cache")


def test_a_file_becomes_a_version_and_an_online_view(
    servers: Servers, ingested: dict[str, Any], credit_card: Contract
) -> None:
    frame = servers.features().read("credit_card", ingested["version"])
    store = open_store(servers.stage.environment["STORE_URL"])
    key = functools.partial(read_key, "", Path(servers.stage.environment["CHURNWATCH_HOME"]) / "pseudonym.key")
    customer = store.customer("credit_card", pseudonyms(credit_card, key)(frame["customer_id"].iloc[-1]))
    store.close()

    assert len(frame) == ingested["rows"]
    assert customer is not None
    assert customer.features == frame_records(frame.tail(1), credit_card.feature_names)[0]


def test_a_good_model_is_found_and_registered_as_challenger(
    servers: Servers, tuned: dict[str, Any], credit_card: Contract
) -> None:
    model = Registry(servers.tracking_uri).resolve("challenger", "credit_card")

    assert (model.run_id, model.digest, model.contract) == (tuned["run_id"], tuned["digest"], "credit_card")
    assert model.contract_sha256 == credit_card.sha256
    assert tuned["trials"] == 5
    assert tuned["test_auc"] >= (0.985 if REAL.is_file() else 0.9)


def test_every_trial_is_a_nested_run_with_a_bundle(servers: Servers, tuned: dict[str, Any]) -> None:
    import mlflow

    client = mlflow.MlflowClient(servers.tracking_uri)
    parent = client.get_run(tuned["parent_run_id"])
    runs = client.search_runs(
        [parent.info.experiment_id],
        f"tags.mlflow.parentRunId = '{parent.info.run_id}'",
        order_by=["metrics.cv_log_loss"],
    )
    registry = Registry(servers.tracking_uri)

    assert [run.info.status for run in runs] == ["FINISHED"] * 5
    assert runs[0].info.run_id == tuned["run_id"]
    assert len({registry.resolve(run.info.run_id, "").digest for run in runs}) == 5
    assert {run.data.params["family"] for run in runs} == set(HOMES)  # each has its start among the first trials
    assert {"cv_log_loss", "validation_auc", "threshold", "fit_seconds"} <= set(runs[1].data.metrics)
    assert "test_auc" in runs[0].data.metrics
    assert "test_auc" not in runs[1].data.metrics  # the test rows are for the best alone
    assert parent.data.params["features_version"] == tuned["features_version"]


def test_mlflow_answers_as_we_do_where_nothing_of_this_project_is(
    servers: Servers, tuned: dict[str, Any], served: Bundle, tmp_path: Path
) -> None:
    """Every family. A logged model brings its own code: this process starts in another folder and cannot import the
    repository."""
    frame = servers.features().read("credit_card", tuned["features_version"])
    records = frame_records(frame, served.contract.feature_names)
    (tmp_path / "records.json").write_text(json.dumps(records))
    registry = Registry(servers.tracking_uri)
    bundles = [open_model(run_id, "", registry, servers.folder / "cache") for run_id in nested_runs(servers, tuned)]
    program = (
        "import json, sys, mlflow\n"
        "records = json.load(open('records.json'))\n"
        "for run_id in sys.argv[1:]:\n"
        "    model = mlflow.pyfunc.load_model(f'runs:/{run_id}/model')\n"
        "    assert model.metadata.signature is not None\n"
        "    print(json.dumps(model.predict(records).tolist()))\n"
        "assert not {'lightgbm', 'sklearn.ensemble', 'sklearn.tree'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *(bundle.run_id for bundle in bundles)],
        env={**servers.stage.environment, "PYTHONPATH": "", "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "False"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr

    assert {bundle.model.family for bundle in bundles} == set(HOMES)
    for bundle, line in zip(bundles, done.stdout.splitlines()[-len(bundles) :], strict=True):
        theirs, encoder = np.array(json.loads(line)), bundle.encoder
        ours = bundle.probabilities(encoder.matrix([encoder.clean(record) for record in records]))
        assert len(theirs) == len(records)
        assert np.abs(ours - theirs).max() <= 1e-6


def nested_runs(servers: Servers, tuned: dict[str, Any]) -> list[str]:
    import mlflow

    client = mlflow.MlflowClient(servers.tracking_uri)
    experiment = client.get_run(tuned["parent_run_id"]).info.experiment_id
    runs = client.search_runs([experiment], f"tags.mlflow.parentRunId = '{tuned['parent_run_id']}'")
    return [run.info.run_id for run in runs]


def test_the_references_scores_are_spread_as_the_served_ones(
    servers: Servers, tuned: dict[str, Any], served: Bundle
) -> None:
    """The largest gap between the distributions stays below what chance gives one time in a hundred."""
    frame = servers.features().read("credit_card", tuned["features_version"])
    unseen = split(frame, served.manifest["facts"]["seed"]).unseen
    scores = np.sort(served.probabilities(served.encoder.encode_frame(frame.iloc[unseen])))
    reference = np.sort(served.reference()["churn_probability"].to_numpy())

    gaps = np.searchsorted(reference, scores) / len(reference) - np.searchsorted(scores, scores) / len(scores)
    assert np.abs(gaps).max() < 1.63 * np.sqrt(1 / len(reference) + 1 / len(scores))


def test_an_artifact_altered_in_mlflow_is_refused(servers: Servers, tuned: dict[str, Any], tmp_path: Path) -> None:
    registry = Registry(servers.tracking_uri)
    model = registry.resolve(tuned["run_id"], "credit_card")
    (stored,) = servers.folder.glob(f"mlflow/artifacts/*/models/{model.model_id}/artifacts/artifacts/bundle/model.*")
    kept = shutil.copy(stored, tmp_path / "kept")
    stored.write_bytes(stored.read_bytes()[:-1] + b"!")
    try:
        with pytest.raises(BundleRefused, match=r"model\.\w+ has sha256 .* it was altered"):
            open_model(tuned["run_id"], "credit_card", registry, tmp_path / "cache")
    finally:
        shutil.copy(kept, stored)


@pytest.mark.parametrize(
    ("arguments", "variables", "sentence"),
    [
        (("ingest", "{folder}/no-target.csv"), {}, "no target column 'Attrition_Flag'"),
        (("tune", "--version", "20200101T000000Z-00000000"), {}, "not there; newest versions: 2"),
        (("tune",), {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "at http://127.0.0.1:9 cannot be used"),
        (("tune",), {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}, "MLflow at http://127.0.0.1:9 cannot be reached"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(
    servers: Servers,
    ingested: dict[str, Any],
    arguments: tuple[str, ...],
    variables: dict[str, str],
    sentence: str,
) -> None:
    lines = servers.data().read_text(encoding="utf-8").splitlines()
    (servers.folder / "no-target.csv").write_text("\n".join(lines[:2]).replace("Attrition_Flag", "Flag"))
    before = servers.features().versions("credit_card")

    done = servers.command(*(argument.format(folder=servers.folder) for argument in arguments), **variables)

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("error: ")
    assert sentence in done.stderr
    assert servers.features().versions("credit_card") == before
