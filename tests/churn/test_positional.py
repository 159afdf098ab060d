"""A body of bare numbers: named in one place, refused with sentences, answered as the same fields by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from churn.contract import Contract, load_contract, parse_contract
from churn.errors import ContractError, InvalidInput
from churn.positional import Positional
from churn.raw_records import RawRecord, Refusal, score_raw
from churn.scoring import COLUMNWISE_FROM, Scorer
from tests.fakes import make_bundle

DATA = [670, 1, 38, 7, 0.0, 2, 1, 1, 77864.41, 1, 0, 0]
NAMED = {
    "credit_score": 670,
    "gender": "Male",
    "age": 38,
    "tenure": 7,
    "balance": 0.0,
    "products": 2,
    "has_credit_card": 1,
    "active_member": 1,
    "estimated_salary": 77864.41,
    "country": "France",
}


@pytest.fixture(scope="module")
def bank() -> Contract:
    return load_contract("bank")


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    return Scorer(make_bundle(tmp_path_factory.mktemp("bundle") / "bank", "bank"))


def named(contract: Contract, fields: dict[str, Any]) -> Any:
    return Positional(contract.positional, contract.features).named(fields)


def changed(index: int, value: Any) -> list[Any]:
    return [*DATA[:index], value, *DATA[index + 1 :]]


def refusal(contract: Contract, fields: dict[str, Any]) -> str:
    with pytest.raises(InvalidInput) as caught:
        named(contract, fields)
    return str(caught.value)


def test_numbers_become_fields_and_the_envelope_stays(bank: Contract) -> None:
    assert named(bank, {"data": DATA, "customer_id": "c-1"}) == {**NAMED, "customer_id": "c-1"}
    assert named(bank, NAMED) is NAMED


def test_a_wrong_length_or_type_is_told(bank: Contract) -> None:
    assert refusal(bank, {"data": DATA[:11]}).startswith(
        "data='11 values': expected a list of 12 numbers: credit_score"
    )
    assert refusal(bank, {"data": "670"}).startswith("data='670': expected a list of 12 numbers")
    assert refusal(bank, {"data": changed(2, "38")}) == "data[2]='38': expected a number: age"
    assert refusal(bank, {"data": changed(2, True)}) == "data[2]=True: expected a number: age"
    assert refusal(bank, {"data": changed(2, None)}) == "data[2]=None: expected a number: age"


def test_codes_that_no_level_has_are_told(bank: Contract) -> None:
    assert refusal(bank, {"data": changed(1, 2)}) == "data[1]=2: expected gender as one of 0 (Female), 1 (Male)"
    several = "data[9] to [11]=[1, 1, 0]: expected 1 for the country of the customer and 0 for the others"
    assert refusal(bank, {"data": changed(10, 1)}) == f"{several} (France, Germany, Spain)"
    assert "[0.5, 0, 0]" in refusal(bank, {"data": changed(9, 0.5)})


def test_numbers_and_names_together_are_refused(bank: Contract) -> None:
    assert refusal(bank, {"data": DATA, "age": 40}) == "age=40: expected either named fields or 'data', not both"


def test_both_forms_get_the_same_answer(scorer: Scorer) -> None:
    by_name, by_place = scorer.score([NAMED, {"data": DATA}], "http")

    assert by_place.churn_probability == by_name.churn_probability  # type: ignore[union-attr]
    assert by_place.features == by_name.features  # type: ignore[union-attr]
    assert by_place.churn_label in ("Will Exit", "Will Not Exit")  # type: ignore[union-attr]
    assert scorer.prepare({"data": DATA}).cleaned.features == by_name.features  # type: ignore[union-attr]


@pytest.mark.parametrize("rows", [3, COLUMNWISE_FROM + 3])
def test_a_wrong_one_in_a_list_keeps_its_place(scorer: Scorer, rows: int) -> None:
    outcomes = scorer.score(
        [{"data": DATA}, {"data": []}, *[NAMED] * (rows - 2)], "batch", [str(i) for i in range(rows)]
    )

    assert isinstance(outcomes[1], InvalidInput)
    right = [outcome for outcome in outcomes if not isinstance(outcome, InvalidInput)]
    assert [outcome.prediction_id for outcome in right] == [str(i) for i in range(rows) if i != 1]


def test_no_country_at_all_is_a_missing_one_and_refused_where_required(scorer: Scorer) -> None:
    outcome = scorer.score([{"data": changed(9, 0)}], "http")[0]

    assert "country=None" in str(outcome)


def test_the_stream_takes_it_and_sets_a_wrong_one_aside(scorer: Scorer) -> None:
    bodies = [b'{"data": [670, 1, 38, 7, 0.0, 2, 1, 1, 77864.41, 1, 0, 0]}', b'{"data": [1, 2]}']
    good, bad = score_raw(scorer, [RawRecord(body, ("s", "1")) for body in bodies], "stream", 1_000)

    assert not isinstance(good, Refusal)
    assert isinstance(bad, Refusal)
    assert "expected a list of 12 numbers" in bad.detail


def test_a_contract_is_told_what_is_wrong_with_its_order(tmp_path: Path) -> None:
    text = load_contract("bank").text
    start = text.index("positional")
    order = text[start : text.index("]\n", start) + 2]
    wrong = 'positional = ["age", "age", "country", "country=Spain", "size", "country=Italy"]\n'

    with pytest.raises(ContractError) as caught:
        parse_contract(text.replace(order, wrong))

    assert "positional: 'size' is no feature, nor 'feature=level'" in caught.value.problems
    assert "positional: 'country=Italy' is no feature, nor 'feature=level'" in caught.value.problems
    assert "positional: something has two places" in caught.value.problems
    assert "positional: 'credit_score' is required and has no place" in caught.value.problems
