"""A contract file is the only list of columns: what it says is read exactly, what is wrong with it is said at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from churn.contract import CONTRACTS_FOLDER, Contract, load_contract, parse_contract
from churn.errors import ContractError

SMALL = """
name = "small"
title = "A small contract"
[source]
id = "ID"
missing = ["?"]
rename = { AGE = "age" }
[source.target]
column = "LEFT"
positive = 1
[features.age]
type = "integer"
minimum = 0
maximum = 150
unit = "years"
required = true
[features.plan]
type = "ordinal"
levels = ["basic", "plus", "pro"]
[features.active]
type = "boolean"
spellings = { Yes = true, No = false }
"""


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(ContractError) as caught:
        parse_contract(text, "small.toml")
    return caught.value.problems


@pytest.mark.parametrize("path", sorted(CONTRACTS_FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_contract_is_named_like_its_file(path: Path) -> None:
    assert load_contract(path.stem).name == path.stem


def test_a_contract_is_read_as_written() -> None:
    contract = parse_contract(SMALL)

    assert contract.feature_names == ("age", "plan", "active")
    assert contract.raw_columns == {"age": "AGE", "plan": "plan", "active": "active"}
    assert (contract.target.column, contract.target.positive) == ("LEFT", "1")
    assert contract.feature("age").expected == "a whole number from 0 to 150 (years)"
    assert contract.feature("plan").expected == "one of 'basic', 'plus', 'pro', or their index 0 to 2"
    assert contract.missing_spellings == {"", "?"}


def test_the_hash_follows_the_meaning_and_not_the_spelling() -> None:
    contract = parse_contract(SMALL)

    assert parse_contract("# a comment\n\n" + SMALL).sha256 == contract.sha256
    assert parse_contract(SMALL.replace("maximum = 150", "maximum = 130")).sha256 != contract.sha256


def test_every_problem_is_named_at_once_with_its_place() -> None:
    wrong = (
        SMALL.replace('type = "integer"', 'type = "int"')
        .replace('levels = ["basic", "plus", "pro"]', 'levels = ["basic"]')
        .replace("positive = 1", "positiv = 1")
    )

    found = problems(wrong)

    assert "features.age.type='int': expected one of number, integer, ordinal, category, boolean" in found
    assert "features.plan.levels=['basic']: an ordinal needs at least two different levels" in found
    assert "source.target.positive: missing; expected text" in found
    assert "source.target: unknown key 'positiv'; did you mean 'positive'?" in found


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("maximum = 150", "maximum = -5"), "features.age.minimum=0 is above maximum=-5"),
        (("maximum = 150", "maximum = 'x'"), "features.age.maximum='x': expected a number"),
        (("maximum = 150", "maximum = nan"), "features.age.maximum=nan: expected a number"),
        (('"basic", "plus"', '"plus", "plus"'), "a level stands there twice"),
        (("Yes = true", "Yes = 'maybe'"), "'Yes' leads to 'maybe', which is none of its levels"),
        (('AGE = "age"', 'AGE = "agee"'), "source.rename: 'AGE' leads to 'agee', which is no feature"),
        (
            ('name = "small"', 'name = "small"\npseudonymise = ["customer_id", "age"]'),
            "pseudonymise: 'age' cannot be; only customer_id can",
        ),
        (('column = "LEFT"', 'column = "plan"'), "it is a feature too; a model must not see it"),
        (('name = "small"', 'name = "../small"'), "name='../small': expected letters, digits and _ only"),
        (("maximum = 150", f"maximum = 1{'0' * 400}"), "expected a number"),
        (("maximum = 150", f"maximum = 1{'0' * 5_000}"), "not valid TOML"),
        (("required = true", "required = 1"), "features.age.required=1: expected true or false"),
        (('missing = ["?"]', 'missing = ["?"]\ndrop = ["plan"]'), "source.drop: 'plan' is a feature too"),
    ],
)
def test_a_wrong_entry_is_said_with_its_value(change: tuple[str, str], expected: str) -> None:
    assert SMALL.count(change[0]) == 1

    assert any(expected in problem for problem in problems(SMALL.replace(*change)))


def test_text_that_is_not_toml_is_said_with_its_line() -> None:
    assert problems("name = 'a'\ntitle = [")[0].startswith("not valid TOML")
    assert "line 2" in problems("name = 'a'\ntitle = b")[0]


def test_a_file_without_features_is_refused() -> None:
    assert "features: missing; expected a table [features]" in problems("name = 'a'\ntitle = 'b'")


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ContractError, match=r"no_such: no such contract; known: .*credit_card"):
        load_contract("no_such")


def test_profit_counts_the_kept_less_the_offers(credit_card: Contract) -> None:
    # Ten leavers and five stayers contacted: 10 * 0.3 * 300 - 15 * 25.
    assert credit_card.decision.profit(10, 5) == pytest.approx(525.0)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a." * 100_000 + "b = 1", "a key of so many parts"),
        ('"a" . ' * 100_000 + "b = 1", "a key of so many parts"),
        ("[" + "a." * 100_000 + "b]", "a key of so many parts"),
        ("a = " + "[" * 100_000, "not valid TOML"),
        ("#" * 1_000_001, "1,000,001 characters: expected at most 1,000,000"),
    ],
)
def test_a_text_that_would_take_all_memory_is_refused_at_once(text: str, sentence: str) -> None:
    with pytest.raises(ContractError, match=sentence):
        parse_contract(text)
