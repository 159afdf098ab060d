"""An artifact is as its schema says, its examples hold, and a program in another language scores it from the page."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from churn.artifact import make_artifact
from churn.bundle import Bundle
from churn.linear import Linear
from churn.model import LogisticModel
from serverless.score import Artifact, ArtifactError, InvalidRecord
from tests.fakes import make_bundle, random_customers, records

DOCS = Path(__file__).resolve().parents[2] / "docs"
SCHEMA = json.loads((DOCS / "artifact.schema.json").read_text(encoding="utf-8"))


def logistic(bundle: Bundle) -> Bundle:
    ones = np.ones(bundle.encoder.width)
    linear = Linear(mean=40 * ones, scale=9 * ones, weight=np.linspace(-0.1, 0.1, len(ones)), intercept=-0.3)
    return Bundle(**{**vars(bundle), "model": LogisticModel(linear)})


def changed(raw: bytes, **fields: Any) -> bytes:
    """An artifact with other content and a digest that fits it."""
    document = {key: value for key, value in json.loads(raw).items() if key not in ("format", "version", "sha256")}
    body = json.dumps(document | fields)[1:].encode()
    head = {"format": "churnwatch-artifact", "version": 1, "sha256": hashlib.sha256(body).hexdigest()}
    return json.dumps(head)[:-1].encode() + b",\n" + body


def test_artifacts_are_as_the_schema_says(bundle: Bundle, tmp_path: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    for one in (
        bundle,
        logistic(bundle),
        make_bundle(tmp_path / "telco", "telco"),
        make_bundle(tmp_path / "b", "bank"),
    ):
        document = json.loads(make_artifact(one))

        jsonschema.validate(document, SCHEMA)
        named = set(SCHEMA["properties"]) | set(SCHEMA["$defs"]["feature"]["properties"])
        assert {*document, *document["features"][0]} <= named
        page = (DOCS / "artifact.md").read_text(encoding="utf-8")
        assert all(f"`{field}`" in page for field in document)


@pytest.mark.parametrize("field", ["features", "model", "threshold", "examples"])
def test_the_schema_refuses_what_lacks_a_field(field: str, bundle: Bundle) -> None:
    document = json.loads(make_artifact(bundle))
    del document[field]

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, SCHEMA)


def test_an_example_is_nobody_s_record(bundle: Bundle) -> None:
    golden = [entry["features"] for entry in json.loads((bundle.folder / "golden.json").read_bytes())]

    assert all(example["record"] not in golden for example in json.loads(make_artifact(bundle))["examples"])


def test_examples_that_do_not_hold_are_refused(bundle: Bundle) -> None:
    raw = make_artifact(bundle)
    examples = json.loads(raw)["examples"]
    examples[3]["churn_probability"] += 1e-5

    with pytest.raises(ArtifactError, match="example 3: got 0"):
        Artifact(changed(raw, examples=examples))
    assert Artifact(changed(raw)).run_id == bundle.run_id


@pytest.mark.parametrize("side", ["left", "right", "roots"])
def test_trees_that_never_end_are_refused(side: str, bundle: Bundle) -> None:
    raw = make_artifact(bundle)
    model = json.loads(raw)["model"]
    inner = next(node for node, left in enumerate(model["left"]) if left != -1)
    model[side][inner] = inner if side != "roots" else model["left"][inner]

    with pytest.raises(ArtifactError, match="no trees"):
        Artifact(changed(raw, model=model))


@pytest.mark.parametrize(
    "fields",
    [{"features": 7}, {"model": {"kind": "linear"}}, {"calibration": None}, {"threshold": "high"}, {"labels": 1}],
)
def test_a_file_with_its_own_digest_and_the_wrong_shape_is_refused(fields: dict[str, Any], bundle: Bundle) -> None:
    with pytest.raises(ArtifactError):
        Artifact(changed(make_artifact(bundle), **fields))


ODD: list[dict[str, Any]] = [
    {"customer_age": "x"},
    {"customer_age": 40.5},
    {"customer_age": True},
    {"income_category": "Unknown", "education_level": 2, "card_category": " Gold "},
    {"card_category": "Plastic", "surprise": 1},
    {"customer_age": None},
    {"income_category": 99},
    {"gender": None},
    {"marital_status": ["Single"]},
]


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not here to score the artifact with")
@pytest.mark.parametrize("kind", ["trees", "linear", "bank"])
def test_node_scores_it_from_the_page_alone(kind: str, bundle: Bundle, tmp_path: Path) -> None:
    one = {"trees": lambda: bundle, "linear": lambda: logistic(bundle)}.get(
        kind, lambda: make_bundle(tmp_path / "bank", "bank")
    )()
    raw = make_artifact(one)
    (tmp_path / "model.json").write_bytes(raw)
    rows = records(random_customers(one.contract, 300, seed=4), one.contract)
    if kind == "bank":
        rows.append({"data": [670, 1, 38, 7, 0.0, 2, 1, 1, 77864.41, 1, 0, 0]})
    else:
        rows += [rows[0] | change for change in ODD]
    command = ["node", str(DOCS / "artifact_score.mjs"), str(tmp_path / "model.json")]

    done = subprocess.run(command, input=json.dumps(rows), capture_output=True, text=True, check=True)

    artifact = Artifact(raw)
    for row, found in zip(rows, json.loads(done.stdout), strict=True):
        try:
            assert found == pytest.approx(artifact.answer(row)["churn_probability"], abs=1e-6)
        except InvalidRecord:
            assert found is None
