"""Bundle -> one JSON file that a program in any language can score with. Its fields are described in docs/artifact.md.

The first line ends after `sha256`, which is the digest of every byte after that line's end: no canonical form of JSON
is needed to check it.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from typing import Any

import numpy as np

from churn.bundle import Bundle
from churn.encoder import ENVELOPE, encoded_columns
from churn.errors import BundleRefused
from churn.feature import Feature
from churn.model import ForestModel, LightGBMModel, LogisticModel, XGBoostModel
from churn.trees import LEAF, TreeEnsemble

FORMAT, VERSION = "churnwatch-artifact", 1
EXAMPLES = 10
LARGEST_DOUBLE = float(np.finfo(np.float64).max)
Document = dict[str, Any]


def make_artifact(bundle: Bundle) -> bytes:
    """The artifact of a verified bundle; the same bundle gives the same bytes. Raises BundleRefused for a model that
    has no plain form (boosters other than XGBoost's gbtree)."""
    body = json.dumps(_document(bundle), ensure_ascii=False, allow_nan=False, separators=(",", ":"))[1:].encode()
    digest = hashlib.sha256(body).hexdigest()
    return f'{{"format":"{FORMAT}","version":{VERSION},"sha256":"{digest}",\n'.encode() + body


def _document(bundle: Bundle) -> Document:
    contract = bundle.contract
    return {
        "model_run_id": bundle.run_id,
        "bundle_digest": bundle.digest,
        "contract": {"name": contract.name, "title": contract.title, "sha256": contract.sha256, "hash": contract.hash},
        "labels": [contract.label(False), contract.label(True)],
        "threshold": bundle.threshold,
        "calibration": bundle.calibration.as_dict(),
        "id_column": contract.id_column,
        "pseudonymise": list(contract.pseudonymise),
        "envelope": list(ENVELOPE),
        "missing_spellings": sorted(contract.missing_spellings),
        "positional": list(contract.positional),
        "features": [_feature(feature) for feature in contract.features],
        "model": _model(bundle),
        "examples": _examples(bundle),
    }


def _examples(bundle: Bundle) -> list[Document]:
    """Records with their answers, for whoever writes a scorer. Each field is of another golden record, so that a record
    is nobody's, though each of its values is somebody's."""
    golden = [entry["features"] for entry in json.loads((bundle.folder / "golden.json").read_bytes())]
    names = bundle.contract.feature_names
    mixed = [
        {name: golden[(start + step * place) % len(golden)][name] for place, name in enumerate(names)}
        for start, step in zip(range(EXAMPLES), itertools.cycle((1, 3, 7)), strict=False)
    ]
    cleaned = [bundle.encoder.clean(record) for record in mixed]
    answers = bundle.probabilities(bundle.encoder.matrix(cleaned)).tolist()
    return [{"record": one, "churn_probability": p} for one, p in zip(mixed, answers, strict=True)]


def _feature(feature: Feature) -> Document:
    return {
        "name": feature.name,
        "type": feature.type,
        "required": feature.required,
        "strict": feature.strict,
        "minimum": feature.minimum,
        "maximum": feature.maximum,
        "levels": list(feature.levels),
        "spellings": dict(feature.spellings),
        "expected": feature.expected,
        "columns": list(encoded_columns(feature)),
    }


def _model(bundle: Bundle) -> Document:
    model = bundle.model
    if isinstance(model, XGBoostModel):
        return _of_xgboost(bundle.run_id, model.document())
    if isinstance(model, LightGBMModel):
        return _of_trees(model.trees, link="log_odds")
    if isinstance(model, ForestModel):
        return _of_trees(model.trees, link="probability")
    if isinstance(model, LogisticModel):
        linear = model.linear
        lists = {name: getattr(linear, name).tolist() for name in ("mean", "scale", "weight")}
        return {"kind": "linear", **lists, "intercept": linear.intercept}
    raise BundleRefused(bundle.run_id, f"a model of family {model.family} cannot be exported")


def _of_trees(trees: TreeEnsemble, link: str) -> Document:
    names = ("roots", "feature", "left", "right", "value")
    lists = {name: getattr(trees, name).tolist() for name in names}
    # A split that only asks whether a value is missing is at infinity, for which JSON has no number.
    lists["threshold"] = np.clip(trees.threshold, -LARGEST_DOUBLE, LARGEST_DOUBLE).tolist()
    return {
        "kind": "trees",
        "link": link,
        "base": 0.0,
        **lists,
        "missing_left": trees.missing_left.astype(int).tolist(),
    }


def _of_xgboost(run_id: str, document: Document) -> Document:
    """XGBoost goes left where value < threshold, both float32; we where value <= the float32 next below it."""
    learner = document["learner"]
    booster, objective = learner["gradient_booster"], learner["objective"]["name"]
    if booster["name"] != "gbtree" or objective != "binary:logistic":
        raise BundleRefused(
            run_id, f"{booster['name']} with {objective} cannot be exported; gbtree, binary:logistic can"
        )
    found: dict[str, list[Any]] = {
        name: [] for name in ("roots", "feature", "threshold", "left", "right", "value", "missing_left")
    }
    for tree in booster["model"]["trees"]:
        if any(tree["split_type"]):
            raise BundleRefused(run_id, "a tree with categorical splits cannot be exported")
        _add_tree(found, tree)
    probability = float(np.float32(learner["learner_model_param"]["base_score"].strip("[]")))
    base = float(np.log(probability) - np.log1p(-probability))
    return {"kind": "trees", "link": "log_odds", "base": base, **found}


def _add_tree(found: dict[str, list[Any]], tree: Document) -> None:
    start = len(found["left"])
    found["roots"].append(start)
    conditions = np.array(tree["split_conditions"], dtype=np.float32)
    is_leaf = np.array(tree["left_children"]) == LEAF
    below = np.nextafter(conditions, np.float32(-np.inf))
    found["threshold"] += np.where(is_leaf, 0.0, below).tolist()
    found["value"] += np.where(is_leaf, conditions, 0.0).tolist()
    for side, children in (("left", "left_children"), ("right", "right_children")):
        found[side] += [LEAF if child == LEAF else child + start for child in tree[children]]
    found["feature"] += np.where(is_leaf, 0, tree["split_indices"]).tolist()
    found["missing_left"] += [int(flag) for flag in tree["default_left"]]
