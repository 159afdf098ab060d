"""Column by column gives what record by record gives: values, their types, bits, verdicts and words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from churn.bundle import Bundle
from churn.columns import ColumnEncoder
from churn.contract import Contract, load_contract, parse_contract
from churn.encoder import Cleaned, Encoder
from churn.errors import InvalidInput
from churn.prediction import Prediction
from churn.scoring import CHUNK, COLUMNWISE_FROM, Scorer
from churn.uniform import UniformRecords
from tests.fakes import pseudonym_key, random_customers, records

EVERY_TYPE = parse_contract(
    """
name = "every_type"
title = "One feature of each kind"
[source]
id = "id"
missing = ["Unknown", "? ", "none"]
[source.target]
column = "left"
positive = "yes"
[features.amount]
type = "number"
minimum = -5
[features.unbounded]
type = "number"
[features.count]
type = "integer"
minimum = 0
maximum = 9007199254740993
required = true
[features.open_count]
type = "integer"
[features.grade]
type = "ordinal"
levels = ["low", "mid", " high", "none"]
spellings = {"M" = "mid"}
[features.plan]
type = "category"
levels = ["a", "b", "c"]
strict = true
[features.color]
type = "category"
levels = ["red", "green"]
required = true
[features.paperless]
type = "boolean"
spellings = {"Yes" = true, "No" = false}
""",
    "every_type.toml",
)
PLAIN: dict[str, Any] = {
    "amount": 1.5,
    "unbounded": 7,
    "count": 3,
    "open_count": -4,
    "grade": "low",
    "plan": "a",
    "color": "red",
    "paperless": True,
}
numbers: list[Any] = [0, 1, 2, 3, 4, -1, 0.0, -0.0, 1.0, 1.5, float("nan"), float("inf"), -5, -5.0000001, 1e-320]
large: list[Any] = [2**53, 2**53 + 1, float(2**53), 1e19, 10**19, 10**400, 3e38, 3.1e38, -3e38]
texts: list[Any] = ["", " ", "1", "low", " low ", "high", " high", "M", " M", "mid", "none", "None", "Unknown", "ü"]
more_texts: list[Any] = [
    " Unknown ",
    "?",
    "? ",
    "yes",
    "Yes",
    " Yes",
    "No",
    "true",
    "True",
    "a",
    "b ",
    "d",
    "red",
    "RED",
]
odd_values = st.sampled_from([None, True, False, [], {}, [1], "\x00", *numbers, *large, *texts, *more_texts])
a_record = st.fixed_dictionaries(
    {}, optional={name: st.one_of(st.just(value), odd_values) for name, value in PLAIN.items()}
).flatmap(
    lambda some: st.dictionaries(st.sampled_from(["id", "event_id", "x", "y"]), odd_values, max_size=3).map(
        lambda more: {**some, **more}
    )
)


def one_by_one(encoder: Encoder, batch: Sequence[Mapping[str, Any]]) -> list[Cleaned | InvalidInput]:
    outcomes: list[Cleaned | InvalidInput] = []
    for record in batch:
        try:
            outcomes.append(encoder.clean(record))
        except InvalidInput as error:
            outcomes.append(error)
    return outcomes


def assert_alike(contract: Contract, batch: Sequence[Mapping[str, Any]]) -> None:
    encoder = Encoder(contract)
    expected = one_by_one(encoder, batch)
    assert_as_expected(encoder, batch, expected)
    if len(fields := {tuple(record) for record in batch}) == 1 and fields != {()}:
        assert_as_expected(encoder, uniform(batch), expected)


def uniform(batch: Sequence[Mapping[str, Any]]) -> UniformRecords:
    columns = [[record[name] for record in batch] for name in batch[0]]
    return UniformRecords(tuple(batch[0]), columns, len(batch))


def assert_as_expected(
    encoder: Encoder, batch: Sequence[Mapping[str, Any]], expected: Sequence[Cleaned | InvalidInput]
) -> None:
    outcomes, matrix = ColumnEncoder(encoder).clean(batch)

    for record, wanted, found in zip(batch, expected, outcomes, strict=True):
        if isinstance(wanted, InvalidInput):
            assert isinstance(found, InvalidInput), record
            assert str(found) == str(wanted)
            continue
        assert isinstance(found, Cleaned), record
        assert found[1:4] == wanted[1:4], record
        assert repr(found.features) == repr(
            wanted.features
        )  # by repr, so that 1, 1.0 and True differ, and order counts
    right = [wanted for wanted in expected if isinstance(wanted, Cleaned)]
    assert matrix.dtype == np.float32
    assert matrix.tobytes() == encoder.matrix(right).tobytes()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.just(PLAIN), a_record), max_size=12))
def test_columns_and_records_agree_on_every_value(batch: list[dict[str, Any]]) -> None:
    assert_alike(EVERY_TYPE, batch)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(PLAIN)), st.lists(odd_values, min_size=1, max_size=30))
def test_columns_and_records_agree_when_one_field_varies(name: str, values: list[Any]) -> None:
    assert_alike(EVERY_TYPE, [PLAIN | {name: value} for value in values])


@pytest.mark.parametrize("name", ["credit_card"])
def test_columns_and_records_agree_on_customers(name: str) -> None:
    contract = load_contract(name)

    assert_alike(contract, records(random_customers(contract, 2000, seed=1), contract))


def test_a_batch_of_none_is_empty() -> None:
    outcomes, matrix = ColumnEncoder(Encoder(EVERY_TYPE)).clean([])

    assert outcomes == []
    assert matrix.shape == (0, Encoder(EVERY_TYPE).width)


def test_a_large_batch_is_answered_as_its_records_are_alone(bundle: Bundle) -> None:
    scorer = Scorer(bundle, key=pseudonym_key)
    batch: list[dict[str, Any]] = records(
        random_customers(bundle.contract, 3 * COLUMNWISE_FROM, seed=2), bundle.contract
    )
    batch[3] |= {"gender": "?"}
    batch[4] |= {"customer_age": "old", "event_time": "noon"}
    batch[5] |= {"event_id": "", "more": 1}
    batch[6] |= {"customer_id": 12, "event_id": "e", "event_time": "2026-01-31T12:00:00+01:00", "more": 1}
    ids = [f"id-{number}" for number in range(len(batch))]

    together = scorer.score(batch, "stream", ids)

    alone = [scorer.score([record], "stream", [identity])[0] for record, identity in zip(batch, ids, strict=True)]
    assert [comparable(outcome) for outcome in together] == [comparable(outcome) for outcome in alone]
    assert [type(together[index]) for index in (3, 4, 5, 6)] == [InvalidInput, InvalidInput, InvalidInput, Prediction]


def test_a_list_of_uniform_records_is_answered_as_its_records_are_alone(bundle: Bundle) -> None:
    scorer = Scorer(bundle, key=pseudonym_key)
    nobody = {"customer_id": None, bundle.contract.id_column: None, "event_id": None, "event_time": None, "more": 1}
    batch: list[dict[str, Any]] = [
        record | nobody
        for record in records(random_customers(bundle.contract, 2 * CHUNK + 50, seed=2), bundle.contract)
    ]
    batch[3] |= {"gender": "?"}
    batch[4] |= {"customer_age": "old", "event_time": "noon"}
    batch[5] |= {"event_id": ""}
    batch[6] |= {"customer_id": 12, "event_id": "e", "event_time": "2026-01-31T12:00:00+01:00"}
    batch[7] |= {bundle.contract.id_column: "own"}
    batch[CHUNK + 8] |= {"customer_id": "both", bundle.contract.id_column: "own"}
    batch[CHUNK + 9] |= {"customer_id": True}
    ids = [f"id-{number}" for number in range(len(batch))]

    together = scorer.score(uniform(batch), "http", ids)

    as_dicts = scorer.score(batch, "http", ids)
    assert [comparable(outcome) for outcome in together] == [comparable(outcome) for outcome in as_dicts]
    for place in (0, 3, 4, 5, 6, 7, CHUNK + 8, CHUNK + 9):
        assert comparable(together[place]) == comparable(scorer.score([batch[place]], "http", [ids[place]])[0])


def comparable(outcome: Prediction | InvalidInput) -> Any:
    if isinstance(outcome, InvalidInput):
        return str(outcome)
    assert isinstance(outcome, Prediction)
    from datetime import UTC, datetime

    import msgspec

    return msgspec.structs.replace(outcome, latency_seconds=0.0, created_at=datetime(2026, 1, 1, tzinfo=UTC))
