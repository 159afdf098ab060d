"""The exported artifact against the running service, for every family that training knows; and its figures."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.serverless import COLD_MILLISECONDS, MEMORY_MB, measure
from churn.artifact import make_artifact
from churn.bundle import Bundle
from orchestration.families import HOMES, make_families
from tests.fakes import make_bundle, random_customers, records
from tests.services import web_service

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]
ROWS = 10_000
PLAIN = """
import json, sys
sys.path.insert(0, sys.argv[1])
from serverless.score import Artifact
artifact = Artifact(open(sys.argv[2], "rb").read())
answers = [artifact.answer(record) for record in json.load(sys.stdin)]
assert not [path for path in sys.path if "packages" in path]
print(json.dumps([[a["churn_probability"], a["churn_label"], a["missing"]] for a in answers]))
"""


def test_ten_thousand_rows_are_scored_as_the_service_answers_them(bundle: Bundle, tmp_path: Path) -> None:
    rows = records(random_customers(bundle.contract, ROWS, seed=7), bundle.contract)
    (tmp_path / "model.json").write_bytes(make_artifact(bundle))
    (tmp_path / "web").mkdir()
    with web_service(bundle, tmp_path / "web") as address:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{address}/predict", json.dumps(rows).encode(), headers)
        with urllib.request.urlopen(request, timeout=60) as response:
            service = json.load(response)

    command = [sys.executable, "-I", "-S", "-c", PLAIN, str(ROOT), str(tmp_path / "model.json")]
    done = subprocess.run(command, input=json.dumps(rows), capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)

    difference = np.abs(np.array([one[0] for one in found]) - [one["churn_probability"] for one in service])
    assert len(found) == ROWS
    assert float(difference.max()) <= 1e-6
    assert [one[1:] for one in found] == [[one["churn_label"], one["missing"]] for one in service]


@pytest.mark.parametrize("family", HOMES)
def test_every_family_that_is_trained_is_exported_scored_and_small(family: str, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle", "telco")
    frame = random_customers(bundle.contract, 2_000, seed=1)
    fitter = make_families([family])[family]
    matrix, labels = bundle.encoder.encode_frame(frame), frame["churned"].to_numpy(dtype=bool)
    trained = replace(bundle, model=fitter.fit(fitter.start, matrix, labels, 60, 1))
    path = tmp_path / "model.json"
    path.write_bytes(make_artifact(trained))
    rows = records(random_customers(bundle.contract, 1_000, seed=7), bundle.contract)

    command = [sys.executable, "-I", "-S", "-c", PLAIN, str(ROOT), str(path)]
    done = subprocess.run(command, input=json.dumps(rows), capture_output=True, text=True, check=True)
    figures = measure(path, rows[:50], runs=3, calls=50)

    expected = trained.probabilities(trained.encoder.matrix([trained.encoder.clean(row) for row in rows]))
    found = np.array([one[0] for one in json.loads(done.stdout)])
    assert trained.model.family == family
    assert float(np.abs(found - expected).max()) <= 1e-6
    assert figures["cold_best_ms"] < COLD_MILLISECONDS
    assert figures["memory_mb"] < MEMORY_MB
    assert figures["one_best_run_ms"] < (1.0 if family == "logistic" else 3.0)
