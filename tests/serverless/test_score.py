"""The artifact, scored by the standard library alone, answers as the service does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import lightgbm
import numpy as np
import pytest

from churn.artifact import make_artifact
from churn.bundle import Bundle
from churn.errors import InvalidInput
from churn.linear import Linear
from churn.model import DecisionTreeModel, ForestModel, LightGBMModel, LogisticModel, Model
from churn.scoring import Scorer
from churn.trees import TreeEnsemble
from serverless.score import Artifact, ArtifactError, InvalidRecord
from tests.fakes import make_bundle, pseudonym_key, random_customers, records

ROOT = Path(__file__).resolve().parents[2]
PLAIN = """
import json, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from serverless.score import Artifact
artifact = Artifact(Path(sys.argv[2]).read_bytes())
print(json.dumps([artifact.answer(record)["churn_probability"] for record in json.load(sys.stdin)]))
print(json.dumps(sorted(name for name in sys.modules if name in ("numpy", "boto3", "churn", "xgboost", "site"))))
"""


@pytest.mark.parametrize("name", ["credit_card", "telco", "bank", "retail"])
def test_ten_thousand_rows_score_as_the_service_does_without_any_package(name: str, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle", name, rounds=60)
    rows = records(random_customers(bundle.contract, 10_000, seed=7), bundle.contract)
    (tmp_path / "model.json").write_bytes(make_artifact(bundle))
    command = [sys.executable, "-I", "-S", "-c", PLAIN, str(ROOT), str(tmp_path / "model.json")]

    done = subprocess.run(command, input=json.dumps(rows), capture_output=True, text=True, check=True)

    answers, loaded = (json.loads(line) for line in done.stdout.splitlines())
    expected = bundle.probabilities(bundle.encoder.matrix([bundle.encoder.clean(row) for row in rows]))
    assert loaded == []
    assert float(np.abs(np.array(answers) - expected).max()) <= 1e-6
    assert len(set(answers)) > 1_000


def test_a_value_on_a_threshold_goes_where_the_booster_sends_it(bundle: Bundle) -> None:
    model = json.loads(make_artifact(bundle))["model"]
    artifact = Artifact(make_artifact(bundle))
    cuts = np.array([t for t, left in zip(model["threshold"], model["left"], strict=True) if left != -1], np.float32)
    above = np.nextafter(cuts, np.float32(np.inf))
    rows = np.repeat(
        np.concatenate([cuts, above, np.nextafter(above, np.float32(np.inf))])[:, None], bundle.encoder.width, 1
    )

    found = [artifact._log_odds(row) for row in rows.tolist()]

    assert np.allclose(found, bundle.model.log_odds(rows), atol=1e-5, rtol=0)


def _forest(width: int) -> TreeEnsemble:
    inner = {"feature": [0, 0, 0], "left": [1, -1, -1], "right": [2, -1, -1]}
    arrays = {name: np.array(numbers, np.int32) for name, numbers in inner.items()}
    return TreeEnsemble(
        width=width,
        roots=np.array([0], np.int32),
        **arrays,
        threshold=np.array([0.1, 0.0, 0.0]),
        missing_left=np.array([True, False, False]),
        value=np.array([0.0, 0.2, 0.7]),
        cover=np.array([2.0, 1.0, 1.0]),
    )


def _lightgbm(bundle: Bundle) -> str:
    frame = random_customers(bundle.contract, 1_000)
    data = lightgbm.Dataset(bundle.encoder.encode_frame(frame), frame["churned"].to_numpy())
    return lightgbm.train({"objective": "binary", "verbose": -1, "num_threads": 1}, data, 20).model_to_string()


@pytest.mark.parametrize("family", ["random_forest", "decision_tree", "lightgbm", "logistic"])
def test_other_families_score_as_their_own_code_does(family: str, bundle: Bundle) -> None:
    width = bundle.encoder.width
    ones = np.ones(width)
    linear = Linear(mean=40 * ones, scale=9 * ones, weight=np.linspace(-0.1, 0.1, width), intercept=-0.3)
    models: dict[str, Model] = {
        "random_forest": ForestModel(_forest(width)),
        "decision_tree": DecisionTreeModel(_forest(width)),
        "lightgbm": LightGBMModel(_lightgbm(bundle)),
        "logistic": LogisticModel(linear),
    }
    other = Bundle(**{**vars(bundle), "model": models[family]})
    rows = records(random_customers(bundle.contract, 500, seed=3), bundle.contract)
    artifact = Artifact(make_artifact(other))

    found = [artifact.answer(row)["churn_probability"] for row in rows]

    expected = other.probabilities(other.encoder.matrix([other.encoder.clean(row) for row in rows]))
    assert np.allclose(found, expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"customer_age": "x", "gender": 7, "credit_limit": -1},
        {"customer_age": 40.5, "marital_status": ["Single"]},
        {"income_category": "Unknown", "education_level": 2, "card_category": " Gold "},
        {"card_category": "Plastic", "surprise": 1, "customer_id": "c-1"},
        {"customer_age": None},
        {"customer_age": True},
        {"income_category": 99},
    ],
)
def test_what_is_wrong_missing_or_unknown_is_said_in_the_service_s_words(
    change: dict[str, object], bundle: Bundle
) -> None:
    record = records(random_customers(bundle.contract, 1), bundle.contract)[0] | change
    artifact = Artifact(make_artifact(bundle))

    service = Scorer(bundle, key=pseudonym_key).score([record], "lambda")[0]

    if isinstance(service, InvalidInput):
        with pytest.raises(InvalidRecord) as caught:
            artifact.answer(record)
        assert str(caught.value) == str(service)
    else:
        answer = artifact.answer(record)
        assert {name: getattr(service, name) for name in ("ignored", "churn", "churn_label")}.items() <= answer.items()
        assert (tuple(answer["missing"]), tuple(answer["unknown"])) == (service.missing, service.unknown)


def test_bare_numbers_are_taken_in_the_contract_s_order(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle", "bank")
    artifact, scorer = Artifact(make_artifact(bundle)), Scorer(bundle, key=pseudonym_key)
    body = {"data": [670, 1, 38, 7, 0.0, 2, 1, 1, 77864.41, 1, 0, 0]}

    answer = artifact.answer(body)

    assert answer["churn_probability"] == pytest.approx(scorer.score_one(body, "lambda").churn_probability, abs=1e-6)
    assert answer["churn_label"] in ("Will Exit", "Will Not Exit")
    with pytest.raises(InvalidRecord, match="a list of 12 numbers"):
        artifact.answer({"data": [1, 2]})
    with pytest.raises(InvalidRecord, match=r"data\[1\]=7: expected gender as one of 0 \(Female\), 1 \(Male\)"):
        artifact.answer({"data": [670, 7, 38, 7, 0.0, 2, 1, 1, 77864.41, 1, 0, 0]})


def test_an_altered_artifact_is_refused(bundle: Bundle) -> None:
    raw = make_artifact(bundle)

    with pytest.raises(ArtifactError, match="altered"):
        Artifact(raw.replace(b'"threshold":0.5', b'"threshold":0.4', 1))
    with pytest.raises(ArtifactError, match="not JSON"):
        Artifact(raw[:-10])
    with pytest.raises(ArtifactError, match="version 1"):
        Artifact(raw.replace(b'"version":1', b'"version":2', 1))


def test_the_same_bundle_gives_the_same_bytes(bundle: Bundle) -> None:
    assert make_artifact(bundle) == make_artifact(bundle)
