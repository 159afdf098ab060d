from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from churn.contract import Contract
from churn.encoder import Encoder
from simulation.__main__ import main
from simulation.draw import draw_population, plain, raw_table
from simulation.population import Population, load_population


@pytest.fixture(scope="module")
def population(credit_card: Contract) -> Population:
    return load_population(credit_card)


@pytest.fixture(scope="module")
def customers(population: Population) -> pd.DataFrame:
    return draw_population(population, 4_000, seed=1)


def test_the_same_seed_gives_the_same_customers(population: Population) -> None:
    first, again, other = (draw_population(population, 50, seed) for seed in (3, 3, 4))

    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(other)


def test_every_customer_fits_the_contract_and_has_an_id_of_its_own(
    credit_card: Contract, customers: pd.DataFrame
) -> None:
    columns = {feature.name: plain(customers, feature) for feature in credit_card.features}
    encoder = Encoder(credit_card)

    cleaned = [encoder.clean(dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]

    assert len(cleaned) == 4_000
    assert all(not record.unknown for record in cleaned)
    assert customers["customer_id"].is_unique


def test_about_one_in_six_leaves_and_about_one_in_seven_education_levels_is_missing(customers: pd.DataFrame) -> None:
    assert abs(customers["churned"].mean() - 0.16) < 0.02
    assert abs(customers["education_level"].isna().mean() - 0.14) < 0.02


def test_columns_hang_together_as_their_loadings_say(customers: pd.DataFrame) -> None:
    pairs = customers[["customer_age", "months_on_book", "total_trans_ct", "total_trans_amt"]].corr(method="spearman")

    assert pairs.loc["customer_age", "months_on_book"] > 0.6
    assert pairs.loc["total_trans_ct", "total_trans_amt"] > 0.7
    assert abs(pairs.loc["customer_age", "total_trans_ct"]) < 0.1


def test_a_ratio_is_that_of_its_two_columns_and_a_balance_stays_within_its_limit(customers: pd.DataFrame) -> None:
    expected = (customers["total_revolving_bal"] / customers["credit_limit"]).round(3)

    np.testing.assert_allclose(customers["avg_utilization_ratio"], expected, atol=1e-9)
    assert (customers["total_revolving_bal"] <= customers["credit_limit"]).all()


def test_the_raw_table_has_the_sources_columns_and_spellings(
    population: Population, credit_card: Contract, customers: pd.DataFrame
) -> None:
    raw = raw_table(population, customers)

    assert list(raw.columns) == ["CLIENTNUM", "Attrition_Flag", *credit_card.raw_columns.values()]
    assert set(raw["Attrition_Flag"]) == {"Attrited Customer", "Existing Customer"}
    assert "Unknown" in set(raw["Education_Level"])
    assert raw["Credit_Limit"].str.fullmatch(r"\d+").all()
    assert (raw["Education_Level"] == "Unknown").sum() == customers["education_level"].isna().sum()


def test_make_data_writes_a_csv_file_that_reads_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "new" / "customers.csv"

    assert main(["make-data", "--rows", "100", "--seed", "2", "--out", str(path)]) == 0

    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    assert len(table) == 100
    assert list(table.columns)[:2] == ["CLIENTNUM", "Attrition_Flag"]
    assert "100 simulated customers" in capsys.readouterr().out


def test_a_path_that_cannot_be_written_is_one_clear_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")

    assert main(["make-data", "--rows", "5", "--out", str(tmp_path / "file" / "x.csv")]) == 1
    assert "cannot be written" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_boosted_trees_find_more_in_the_simulated_customers_than_a_linear_model(
    credit_card: Contract, customers: pd.DataFrame
) -> None:
    import xgboost
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.preprocessing import StandardScaler

    matrix = Encoder(credit_card).encode_frame(customers)
    labels = customers["churned"].to_numpy(dtype=bool)
    train, test = slice(0, 3_000), slice(3_000, 4_000)
    settings = {"objective": "binary:logistic", "max_depth": 4, "eta": 0.1, "nthread": 1, "subsample": 0.8}
    trees = xgboost.train(settings, xgboost.DMatrix(matrix[train], labels[train]), 150)
    filled = StandardScaler().fit_transform(np.nan_to_num(matrix))
    linear = LogisticRegression(max_iter=500).fit(filled[train], labels[train])

    by_trees = roc_auc_score(labels[test], trees.predict(xgboost.DMatrix(matrix[test])))
    by_line = roc_auc_score(labels[test], linear.decision_function(filled[test]))

    assert 0.94 < by_trees < 0.985
    assert by_trees > by_line + 0.03
