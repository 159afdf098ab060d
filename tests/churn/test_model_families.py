"""Every family answers as the library that fitted it, explains itself exactly, and is the same after a save."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier

from churn.bundle import load_bundle, save_bundle
from churn.calibration import fit_calibration
from churn.contract import Contract
from churn.encoder import Encoder
from churn.errors import BundleRefused
from churn.histogram import make_profile
from churn.lightgbm_text import read_lightgbm
from churn.linear import Linear
from churn.model import LOADERS, Matrix, Model, load_model
from churn.trees import TreeEnsemble
from orchestration.families import HOMES, make_families
from orchestration.families.sklearn_families import fit_pipeline, linear_of
from tests.fakes import random_customers, records

Data = tuple[Matrix, np.ndarray]


@pytest.fixture(scope="module")
def data(credit_card: Contract) -> Data:
    """Customers as encoded, every tenth number lost on the way."""
    frame = random_customers(credit_card, 1_500, seed=4)
    matrix = Encoder(credit_card).encode_frame(frame)
    lost = np.random.default_rng(1).random(matrix.shape) < 0.1
    numeric = np.array(["=" not in name for name in Encoder(credit_card).columns])
    matrix[lost & numeric] = np.nan
    return matrix, frame["churned"].to_numpy(dtype=bool)


@pytest.fixture(scope="module")
def models(data: Data) -> dict[str, Model]:
    families = make_families(list(HOMES))
    return {name: family.fit(family.start, *data, 30, 7) for name, family in families.items()}


def probabilities(log_odds: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-log_odds)))


@pytest.mark.parametrize("name", HOMES)
def test_contributions_sum_to_the_log_odds(models: dict[str, Model], data: Data, name: str) -> None:
    rows = data[0][:40]
    contributions = models[name].contributions(rows)

    assert contributions.shape == (40, rows.shape[1] + 1)
    assert np.ptp(contributions[:, -1]) == 0
    assert np.abs(contributions.sum(axis=1) - models[name].log_odds(rows)).max() < (1e-5 if name == "xgboost" else 1e-9)


@pytest.mark.parametrize("name", HOMES)
def test_a_model_is_the_same_after_a_save(models: dict[str, Model], data: Data, name: str, tmp_path: Path) -> None:
    model = models[name]
    model.save(tmp_path)
    loaded = load_model(name, tmp_path)
    (tmp_path / "again").mkdir()
    loaded.save(tmp_path / "again")

    assert loaded.family == name
    assert loaded.log_odds(data[0]).tolist() == model.log_odds(data[0]).tolist()
    assert (tmp_path / "again" / model.file_name).read_bytes() == (tmp_path / model.file_name).read_bytes()


@pytest.mark.parametrize("name", HOMES)
def test_one_row_and_many_are_answered_alike(models: dict[str, Model], data: Data, name: str) -> None:
    together = models[name].log_odds(data[0][:300])

    assert [float(models[name].log_odds(data[0][i : i + 1])[0]) for i in range(300)] == together.tolist()
    assert models[name].log_odds(data[0][:0]).shape == (0,)


@pytest.mark.parametrize("name", HOMES)
def test_rows_of_the_wrong_width_are_refused(models: dict[str, Model], name: str) -> None:
    with pytest.raises(ValueError, match=r"rows of shape \(2, 3\): expected \(rows, \d+\)"):
        models[name].log_odds(np.zeros((2, 3), dtype=np.float32))


@pytest.mark.parametrize("name", HOMES)
def test_a_bundle_of_any_family_is_whole(
    models: dict[str, Model], data: Data, credit_card: Contract, name: str, tmp_path: Path
) -> None:
    """Saved, verified by its golden answers, and explained in the contract's words."""
    frame, model = random_customers(credit_card, 300, seed=5), models[name]
    log_odds = model.log_odds(data[0])
    reference = frame.assign(churn_probability=0.5, churn=True)
    save_bundle(
        tmp_path,
        run_id="a" * 32,
        contract=credit_card,
        model=model,
        calibration=fit_calibration(log_odds, data[1]),
        threshold=0.5,
        reference=reference,
        profile=make_profile(credit_card, reference),
        golden_records=records(frame.head(50), credit_card),
        facts={},
    )
    bundle = load_bundle(tmp_path)
    rows = data[0][:20]
    explained = bundle.contributions(rows)

    assert bundle.manifest["family"] == name
    assert explained.shape == (20, len(credit_card.features) + 1)
    assert np.abs(probabilities(explained.sum(axis=1)) - bundle.probabilities(rows)).max() < 1e-6


@pytest.mark.parametrize("missing", [True, False])
def test_lightgbm_is_answered_and_explained_as_by_itself(data: Data, missing: bool) -> None:
    """With NaN in training its splits know missing values; without, it takes them for 0."""
    matrix, labels = data
    seen = matrix if missing else np.nan_to_num(matrix)
    settings = {"objective": "binary", "num_leaves": 20, "verbosity": -1, "num_threads": 1, "seed": 1}
    booster = lightgbm.train(settings, lightgbm.Dataset(seen, labels.astype(float)), 40)
    trees = read_lightgbm(booster.model_to_string())

    assert np.abs(trees.scores(matrix) - booster.predict(matrix, raw_score=True)).max() < 1e-12
    assert np.abs(probabilities(trees.scores(matrix)) - booster.predict(matrix)).max() < 1e-12
    theirs = np.asarray(booster.predict(matrix[:50], pred_contrib=True))
    assert np.abs(trees.contributions(matrix[:50]) - theirs).max() < 1e-9


def test_a_lightgbm_tree_of_one_leaf_is_a_constant(data: Data) -> None:
    matrix, labels = data
    settings = {"objective": "binary", "min_data_in_leaf": 1_000, "verbosity": -1}
    booster = lightgbm.train(settings, lightgbm.Dataset(matrix, labels.astype(float)), 3)
    trees = read_lightgbm(booster.model_to_string())

    assert np.abs(trees.scores(matrix) - booster.predict(matrix, raw_score=True)).max() < 1e-12
    assert trees.contributions(matrix[:2])[:, :-1].tolist() == np.zeros((2, matrix.shape[1])).tolist()


@pytest.mark.parametrize(
    ("name", "make"), [("random_forest", RandomForestClassifier), ("decision_tree", DecisionTreeClassifier)]
)
def test_trees_are_answered_as_by_scikit_learn(data: Data, name: str, make: Callable[..., Any]) -> None:
    """Without smoothing, bit for bit almost; a leaf of one kind only is held back from certainty by a billionth."""
    family = make_families([name])[name]
    settings = {**family.start, "smoothing": 0.0}
    ours = family.fit(settings, *data, 1, 3)
    settings.pop("smoothing")
    theirs = make(**settings, random_state=3).fit(*data).predict_proba(data[0])[:, 1]

    assert np.abs(probabilities(ours.log_odds(data[0])) - theirs).max() < 1e-8


def test_smoothing_draws_a_leaf_towards_the_base_rate(data: Data) -> None:
    family = make_families(["decision_tree"])["decision_tree"]
    matrix, labels = data
    none, some = (
        probabilities(family.fit({**family.start, "smoothing": s}, matrix, labels, 1, 3).log_odds(matrix))
        for s in (0, 5)
    )
    base = labels.mean()

    assert np.all(np.abs(some - base) <= np.abs(none - base) + 1e-12)
    assert none.min() < 1e-6 < some.min()


def test_a_logistic_regression_is_answered_as_by_scikit_learn(data: Data) -> None:
    pipeline = fit_pipeline({"C": 0.5}, *data)
    theirs = pipeline.predict_proba(data[0].astype(np.float64))[:, 1]

    assert np.abs(probabilities(linear_of(pipeline).scores(data[0])) - theirs).max() < 1e-12


def brute_force(trees: TreeEnsemble, row: Matrix) -> np.ndarray:
    """Shapley values by their definition: over every order in which three columns may become known."""
    from itertools import permutations

    def expected(node: int, known: frozenset[int]) -> float:
        left, right = int(trees.left[node]), int(trees.right[node])
        if left < 0:
            return float(trees.value[node])
        column = int(trees.feature[node])
        if column in known:
            value = row[column]
            to_left = trees.missing_left[node] if np.isnan(value) else value <= trees.threshold[node]
            return expected(left if to_left else right, known)
        share = trees.cover[left] / trees.cover[node]
        return float(share * expected(left, known) + (1 - share) * expected(right, known))

    def value(known: frozenset[int]) -> float:
        return sum(expected(int(root), known) for root in trees.roots)

    columns = range(trees.width)
    orders = list(permutations(columns))
    found = np.zeros(trees.width + 1)
    for order in orders:
        for place, column in enumerate(order):
            before = frozenset(order[:place])
            found[column] += (value(before | {column}) - value(before)) / len(orders)
    found[-1] = value(frozenset())
    return found


def test_contributions_are_shapley_values_by_their_definition() -> None:
    """Four columns, missing values, columns that come twice on a path."""
    random = np.random.default_rng(3)
    matrix = random.normal(size=(400, 4)).astype(np.float32)
    matrix[random.random(matrix.shape) < 0.15] = np.nan
    filled = np.nan_to_num(matrix)
    labels = filled[:, 0] * filled[:, 1] + filled[:, 2] > 0.3
    family = make_families(["random_forest"])["random_forest"]
    settings: Mapping[str, Any] = {**family.start, "n_estimators": 3, "max_depth": 6, "max_features": 0.9}
    trees = family.fit(settings, matrix, labels, 1, 1).trees  # type: ignore[attr-defined]  # a forest has them

    for row in range(8):
        assert trees.contributions(matrix[row : row + 1])[0] == pytest.approx(
            brute_force(trees, matrix[row]), abs=1e-12
        )


def test_damaged_trees_are_refused(models: dict[str, Model], tmp_path: Path) -> None:
    trees: TreeEnsemble = models["decision_tree"].trees  # type: ignore[attr-defined]  # a tree has them
    loop = trees.left.copy()
    loop[0] = 0
    damaged = TreeEnsemble(**{**vars_of(trees), "left": loop})
    damaged.save(tmp_path / "model.npz")

    with pytest.raises(ValueError, match="a node leads backwards or out of them"):
        TreeEnsemble.load(tmp_path / "model.npz")
    (tmp_path / "model.npz").write_bytes(b"PK\3\4 no archive")
    with pytest.raises(ValueError, match=r"model.npz holds no trees"):
        TreeEnsemble.load(tmp_path / "model.npz")


def vars_of(trees: TreeEnsemble) -> dict[str, Any]:
    return {name: getattr(trees, name) for name in TreeEnsemble.__dataclass_fields__}


@pytest.mark.parametrize(
    "text", ["", "tree\nobjective=regression\nend of trees", "tree\nobjective=binary sigmoid:1\nend of trees"]
)
def test_what_is_no_lightgbm_model_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="LightGBM model"):
        read_lightgbm(text)


def test_a_damaged_linear_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_text('{"mean": [1], "scale": [1, 2], "weight": [1], "intercept": 0}')

    with pytest.raises(ValueError, match="its lists do not fit each other"):
        Linear.load(path)


def test_an_unknown_family_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BundleRefused, match=r"family 'oracle' is not known here; known: decision_tree, lightgbm"):
        load_model("oracle", tmp_path)
    assert set(LOADERS) == set(HOMES)
