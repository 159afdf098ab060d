"""Every family that can be tuned is answered alike at every door: HTTP, stream, Lambda's artifact, its maker.

mlflow.pyfunc, the fifth, needs a server: tests/integration/test_training.py asks it about all families.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from churn.artifact import make_artifact
from churn.bundle import Bundle, load_bundle
from churn.contract import Contract
from churn.prediction import Prediction
from churn.scoring import Scorer
from orchestration.families import HOMES, make_families
from orchestration.outcome import Trial
from orchestration.training import TrainingSet
from orchestration.trials import Work, run_trial
from serverless.score import Artifact
from stream_service.pipeline import result_json, score_batch
from stream_service.records import StreamRecord
from tests.fakes import pseudonym_key, random_customers, records
from tests.memory_tracker import MemoryTracker
from tests.orchestration.test_training import MANIFEST

CUSTOMERS = 60
TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def trained(credit_card: Contract) -> TrainingSet:
    return TrainingSet(credit_card, MANIFEST, random_customers(credit_card, 600), seed=7, folds=2).prepare()


@pytest.fixture(params=list(HOMES))
def bundle(request: pytest.FixtureRequest, trained: TrainingSet, tmp_path: Path) -> Bundle:
    """What a trial of the family logs: in place of the small model that other tests of this room serve."""
    (family,) = make_families([request.param]).values()
    tracker = MemoryTracker(tmp_path / "runs")
    small = {"n_estimators": 40} if request.param == "random_forest" else {}
    outcome = run_trial(
        Work(trained, tracker, "0" * 32, {family.name: family}),  # type: ignore[arg-type]  # a double
        0,
        family.name,
        {**family.start, **small},
    )
    assert isinstance(outcome.trial, Trial), outcome.reason
    return load_bundle(tmp_path / "runs" / outcome.trial.run_id, outcome.trial.digest)


def test_every_door_gives_the_same_probability(bundle: Bundle, client: Any) -> None:
    asked = records(random_customers(bundle.contract, CUSTOMERS, seed=11), bundle.contract)
    made = bundle.probabilities(bundle.encoder.matrix([bundle.encoder.clean(one) for one in asked]))

    http = client.post("/predict", json=asked).get_json()
    now = datetime(2026, 1, 31, tzinfo=UTC)
    carried = [StreamRecord("0", str(n), "k", json.dumps(one).encode(), now) for n, one in enumerate(asked)]
    stream = []
    for _, outcome in score_batch(Scorer(bundle, key=pseudonym_key), "predictions", carried, 1_000_000):
        assert isinstance(outcome, Prediction)
        stream.append(json.loads(result_json(outcome)))
    artifact = Artifact(make_artifact(bundle))
    answered = {
        "http": [one["churn_probability"] for one in http],
        "stream": [one["churn_probability"] for one in stream],
        "lambda": [artifact.answer(one)["churn_probability"] for one in asked],
    }

    assert len(np.unique(made)) > CUSTOMERS / 10
    for door, given in answered.items():
        assert np.abs(np.array(given) - made).max() <= TOLERANCE, door
    assert [one["churn"] for one in http] == (made >= bundle.threshold).tolist()
