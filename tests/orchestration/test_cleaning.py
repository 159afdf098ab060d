"""Ingestion and serving agree on what a correct value is, for any text a file may hold."""

from __future__ import annotations

import contextlib

import numpy as np
import pandas as pd
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from churn.contract import parse_contract
from churn.encoder import Encoder, frame_records
from churn.errors import InvalidInput
from orchestration.cleaning import Cleaner
from orchestration.validation import find_problems

CONTRACT = parse_contract(
    """
name = "shop"
title = "Shop"
[source]
id = "id"
missing = ["Unknown", "?"]
[source.target]
column = "left"
positive = "yes"
negative = "no"
[features.visits]
type = "integer"
minimum = 0
maximum = 100
required = true
[features.spent]
type = "number"
[features.tier]
type = "ordinal"
levels = ["low", "2", "high"]
[features.town]
type = "category"
levels = ["A", "B"]
[features.street]
type = "category"
levels = ["x", "y"]
strict = true
spellings = {ex = "x"}
[features.member]
type = "boolean"
spellings = {Y = true, N = false}
"""
)
PHASES = [Phase.explicit, Phase.reuse, Phase.generate]
"""A failing table is shown as found: to shrink it would take minutes."""
ENCODER = Encoder(CONTRACT)
TEXT = st.one_of(
    st.sampled_from(["", " ", "Unknown", "?", "low", " high", "2", "0", "1", "3", "A", "C", "x", "ex", "Y", "True"]),
    st.integers(-5, 105).map(str),
    st.floats().map(repr),
    st.sampled_from(["1_000", "nan", "inf", "-inf", "1e999", "3.1e38", "5.0", "0x10", "1,5", "١", "²", "+7", ".5"]),
    st.text(max_size=5),
)


def ingested(rows: list[dict[str, str]]) -> pd.DataFrame:
    """The rows as ingestion keeps them, by their position; those set aside are gone."""
    texts = pd.DataFrame(
        [{"customer_id": str(number), **row, "churned": "yes"} for number, row in enumerate(rows)], dtype=object
    )
    frame, problems, _ = Cleaner(CONTRACT).clean(texts)
    problems.update(find_problems(frame, CONTRACT, lambda _: False))
    return frame.drop(index=list(problems))


@settings(max_examples=12, deadline=None, phases=PHASES)
@given(st.lists(st.fixed_dictionaries(dict.fromkeys(CONTRACT.feature_names, TEXT)), min_size=20, max_size=40))
@example([{"visits": "5.0", "spent": "-3e38", "tier": "2", "town": "C", "street": "ex", "member": "Y"}])
def test_what_ingests_is_encoded_alike_by_table_and_by_record(rows: list[dict[str, str]]) -> None:
    kept = ingested(rows)

    by_record = [ENCODER.clean(record) for record in frame_records(kept, CONTRACT.feature_names)]
    assert ENCODER.encode_frame(kept).tobytes() == ENCODER.matrix(by_record).tobytes()


@settings(max_examples=12, deadline=None, phases=PHASES)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.integers(-5, 105), st.floats(-5, 105)),
            st.one_of(st.floats(), st.integers(-(10**40), 10**40)),
        ),
        min_size=20,
        max_size=40,
    )
)
def test_a_number_is_refused_by_ingestion_exactly_when_serving_refuses_it(numbers: list[tuple[float, float]]) -> None:
    blank = {"tier": "", "town": "", "street": "", "member": ""}
    kept = ingested([{"visits": repr(visits), "spent": repr(spent), **blank} for visits, spent in numbers])

    served: dict[int, list[float]] = {}
    for number, (visits, spent) in enumerate(numbers):
        with contextlib.suppress(InvalidInput):
            served[number] = ENCODER.clean({"visits": visits, "spent": spent}).row
    assert list(kept.index) == list(served)
    rows = np.array(list(served.values()), dtype=np.float32).reshape(-1, ENCODER.width)
    assert ENCODER.encode_frame(kept).tobytes() == rows.tobytes()
