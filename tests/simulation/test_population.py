from __future__ import annotations

import tomllib

import pytest

from churn.contract import Contract, load_contract
from churn.encoder import Encoder, frame_records
from churn.errors import ContractError
from simulation.draw import draw_population
from simulation.population import POPULATIONS_FOLDER, load_population, parse_population

TEXT = (POPULATIONS_FOLDER / "credit_card.toml").read_text(encoding="utf-8")


def problems(contract: Contract, text: str) -> str:
    with pytest.raises(ContractError) as caught:
        parse_population(tomllib.loads(text), contract, "p.toml")
    return str(caught.value)


def test_a_population_has_every_feature_in_the_contracts_order(credit_card: Contract) -> None:
    population = load_population(credit_card)

    assert tuple(column.feature.name for column in population.columns) == credit_card.feature_names


def test_a_contract_without_a_population_names_those_that_exist(credit_card: Contract, tmp_path) -> None:
    (tmp_path / "other.toml").write_text("")

    with pytest.raises(ContractError, match="credit_card: no population to simulate; known: other"):
        load_population(credit_card, tmp_path)


def test_a_file_that_is_not_toml_is_a_clear_error(credit_card: Contract, tmp_path) -> None:
    (tmp_path / "credit_card.toml").write_text("= 1")

    with pytest.raises(ContractError, match="cannot be read"):
        load_population(credit_card, tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('contract = "credit_card"', 'contract = "telco"', "contract='telco': expected 'credit_card'"),
        ('missing = "Unknown"', 'missing = "nothing"', "missing='nothing': the contract does not know it"),
        ("quantile_levels = [0, 0.02,", "quantile_levels = [0, 0.2,", "quantile_levels: expected growing numbers"),
        ("[columns.gender]", "[columns.sex]", "columns.sex: the contract has no such feature"),
        ("[columns.gender]", "[columns.sex]", "columns.gender: missing; every feature"),
        ("{ age = 0.95 }", "{ aging = 0.95 }", "loadings: 'aging' is none of the factors"),
        ("{ age = 0.95 }", "{ age = 1.5 }", "loadings: their squares add up to more than 1"),
        ("quantiles = [24,", "quantiles = [12,", "quantiles: expected a whole number from 18 to 120"),
        ("quantiles = [24, 29,", "quantiles = [24,", "quantiles: expected 9 numbers"),
        ("F = 0.52", "F = 0.12", "shares: expected one for each of F, M, adding up to 1"),
        ("shares = { F = 0.52, M = 0.48 }", "quantiles = [0, 1]", "a category is drawn by shares"),
        ('ratio = ["total_revolving_bal", ', 'ratio = ["total_bal", ', "refers to 'total_bal'"),
        ("below = { gender = 0.52 }", "below = { sex = 0.52 }", "'sex' is no column"),
        ("below = { gender = 0.52 }", "below = { gender = 1.2 }", "expected a rank between 0 and 1"),
        ("below = { gender = 0.52 }", "", "expected columns under above or below"),
        ("weight = 0.6", "wieght = 0.6", "unknown key 'wieght'; did you mean 'weight'?"),
    ],
)
def test_a_wrong_population_file_names_what_is_wrong(credit_card: Contract, old: str, new: str, said: str) -> None:
    assert old in TEXT

    assert said in problems(credit_card, TEXT.replace(old, new))


@pytest.mark.parametrize("name", ["credit_card", "telco", "bank", "retail"])
def test_every_shipped_contract_has_customers_that_keep_to_it(name: str) -> None:
    contract = load_contract(name)
    population = load_population(contract)
    customers = draw_population(population, 2_000, seed=1)

    rows = frame_records(customers, contract.feature_names)
    cleaned = [Encoder(contract).clean(row) for row in rows]

    assert not any(one.unknown for one in cleaned)
    assert customers["churned"].mean() == pytest.approx(population.churn_rate, abs=0.03)


def test_a_product_and_an_unless_hold_between_columns() -> None:
    customers = draw_population(load_population(load_contract("telco")), 2_000, seed=1)

    billed = customers[customers["tenure"] > 0].dropna(subset=["total_charges"])
    ratio = billed["total_charges"] / (billed["tenure"] * billed["monthly_charges"])
    assert ratio.between(0.8, 1.2).all()
    without = customers[customers["internet_service"] == "No"]
    assert len(without) > 100
    assert not without["tech_support"].any()


def test_wrong_products_and_unlesses_are_told() -> None:
    contract = load_contract("telco")
    text = (POPULATIONS_FOLDER / "telco.toml").read_text(encoding="utf-8")
    wrong = text.replace('product = ["tenure", "monthly_charges"]', 'product = ["tenure"]')
    wrong = wrong.replace('unless = { phone_service = "false" }', 'unless = { phone_service = "never" }')

    with pytest.raises(ContractError) as caught:
        parse_population(tomllib.loads(wrong), contract, "telco.toml")

    assert set(caught.value.problems) == {
        "columns.total_charges.product: expected two columns",
        "columns.multiple_lines: unless refers to phone_service='never', which is no level with a share",
    }
