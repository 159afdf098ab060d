"""One code path: a record over HTTP and a row of a training table become the same float32 row, bit for bit."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from churn.contract import Contract, Feature, load_contract, parse_contract
from churn.encoder import Encoder
from churn.errors import InvalidInput

ELEVEN = {
    "customer_age": 45, "gender": "M", "dependent_count": 3, "education_level": 1, "marital_status": "Married",
    "income_category": 2, "card_category": 0, "months_on_book": 39, "total_relationship_count": 5,
    "credit_limit": 12691.0, "total_revolving_bal": 777,
}  # fmt: skip
STRICT = parse_contract("""
name = "strict"
title = "One strict category and a boolean"
[source]
id = "id"
missing = ["?"]
[source.target]
column = "left"
positive = "yes"
[features.color]
type = "category"
levels = ["red", "blue"]
spellings = { rouge = "red" }
strict = true
[features.active]
type = "boolean"
spellings = { Yes = true, No = false }
""")


def wrong(record: dict[str, Any], contract: Contract) -> dict[str, str]:
    with pytest.raises(InvalidInput) as caught:
        Encoder(contract).clean(record)
    return {problem.field: str(problem) for problem in caught.value.problems}


def test_eleven_fields_with_ordinals_as_integers_are_enough(credit_card: Contract) -> None:
    cleaned = Encoder(credit_card).clean(ELEVEN)

    assert cleaned.features["education_level"] == "High School"
    assert cleaned.features["income_category"] == "$60K - $80K"
    assert cleaned.features["card_category"] == "Blue"
    assert len(cleaned.missing) == 7
    assert cleaned.row[:3] == [45.0, 0.0, 1.0]


def test_an_ordinal_by_name_and_by_index_encodes_alike(credit_card: Contract) -> None:
    encoder = Encoder(credit_card)

    by_name = encoder.clean({**ELEVEN, "card_category": "Gold"})

    assert repr(by_name) == repr(encoder.clean({**ELEVEN, "card_category": 2}))


def test_missing_is_nan_for_numbers_and_all_zero_for_categories(credit_card: Contract) -> None:
    encoder = Encoder(credit_card)
    cleaned = encoder.clean({**ELEVEN, "marital_status": "Unknown", "education_level": None, "total_trans_ct": "?"})
    row = dict(zip(encoder.columns, cleaned.row, strict=True))

    assert [row[f"marital_status={level}"] for level in ("Divorced", "Married", "Single")] == [0, 0, 0]
    assert math.isnan(row["education_level"])
    assert math.isnan(row["total_trans_ct"])
    assert {"marital_status", "education_level", "total_trans_ct"} <= set(cleaned.missing)


def test_an_unknown_category_is_counted_and_encoded_as_missing(credit_card: Contract) -> None:
    cleaned = Encoder(credit_card).clean({**ELEVEN, "card_category": "Titanium", "gender": "X"})

    assert cleaned.unknown == ("gender", "card_category")
    assert cleaned.features["gender"] is None


def test_a_strict_category_refuses_an_unknown_level() -> None:
    assert wrong({"color": "green"}, STRICT) == {"color": "color='green': expected one of 'red', 'blue'"}


def test_spellings_lead_to_their_level() -> None:
    encoder = Encoder(STRICT)

    assert encoder.clean({"color": "rouge", "active": "No"}).features == {"color": "red", "active": False}
    assert encoder.clean({"color": " red ", "active": 1}).features == {"color": "red", "active": True}


def test_fields_outside_the_contract_are_counted_and_the_envelope_is_not(credit_card: Contract) -> None:
    record = {**ELEVEN, "customer_id": "c1", "event_id": "e1", "CLIENTNUM": 7, "favourite_color": "blue", "x": 1}

    assert Encoder(credit_card).clean(record).ignored == 2


def test_every_wrong_field_is_named_with_value_and_range(credit_card: Contract) -> None:
    found = wrong(
        {
            **ELEVEN, "customer_age": -1, "gender": 3, "card_category": 7, "months_on_book": 3.5,
            "credit_limit": "a lot", "total_revolving_bal": None, "total_trans_amt": math.nan, "total_trans_ct": True,
            "avg_utilization_ratio": 10**400, "dependent_count": [1],
        },
        credit_card,
    )  # fmt: skip

    assert found["customer_age"] == "customer_age=-1: expected a whole number from 18 to 120 (years)"
    assert found["gender"] == "gender=3: expected one of 'F', 'M'"
    assert found["card_category"].endswith("or their index 0 to 3")
    assert found["months_on_book"] == "months_on_book=3.5: expected a whole number from 0 to 1200 (months)"
    assert found["credit_limit"] == "credit_limit='a lot': expected a number from 0 to 10000000 (USD)"
    assert found["total_revolving_bal"].endswith("it is required")
    assert set(found) >= {"total_trans_amt", "total_trans_ct", "avg_utilization_ratio", "dependent_count"}


def test_a_long_wrong_value_is_cut_in_the_message(credit_card: Contract) -> None:
    assert len(wrong({**ELEVEN, "credit_limit": "x" * 5_000}, credit_card)["credit_limit"]) < 200


def test_a_frame_names_its_wrong_column(credit_card: Contract) -> None:
    with pytest.raises(InvalidInput, match="customer_age=900"):
        Encoder(credit_card).encode_frame(pd.DataFrame([{**ELEVEN, "customer_age": 900}]))


def value_of(feature: Feature) -> st.SearchStrategy[Any]:
    if feature.is_numeric:
        low, high = feature.minimum or 0, feature.maximum or 1e6
        numbers: st.SearchStrategy[Any] = (
            st.integers(int(low), int(high)) if feature.type == "integer" else st.floats(low, high, width=64)
        )
    elif feature.type == "boolean":
        numbers = st.booleans()
    else:
        numbers = st.sampled_from(feature.levels)
        if feature.type == "ordinal":
            numbers |= st.integers(0, len(feature.levels) - 1)
    return numbers if feature.required else st.none() | numbers


def record_of(contract: Contract) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({feature.name: value_of(feature) for feature in contract.features})


@settings(max_examples=60, deadline=None)
@given(st.lists(record_of(load_contract("credit_card")), min_size=1, max_size=5))
def test_records_and_frames_encode_alike_bit_for_bit(rows: list[dict[str, Any]]) -> None:
    encoder = Encoder(load_contract("credit_card"))
    over_the_wire = [encoder.clean(json.loads(json.dumps(row))) for row in rows]
    table = pd.DataFrame([cleaned.features for cleaned in over_the_wire])

    by_record = encoder.matrix(over_the_wire)

    assert by_record.dtype == np.float32
    assert by_record.shape == (len(rows), encoder.width)
    assert encoder.encode_frame(table).tobytes() == by_record.tobytes()
    assert encoder.encode_frame(table.convert_dtypes()).tobytes() == by_record.tobytes()


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([*load_contract("credit_card").feature_names, "other"]),
        st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.lists(st.integers(), max_size=2),
    )
)
def test_anything_at_all_is_answered_or_refused_with_reasons(record: dict[str, Any]) -> None:
    encoder = Encoder(load_contract("credit_card"))
    try:
        outcome = len(encoder.clean(record).row)
    except InvalidInput as error:
        outcome = -len(str(error))

    assert outcome == encoder.width or outcome < 0
