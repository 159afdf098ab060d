"""Counts on the reference's cells: exact, mergeable, cheap, and not to be upset by what a log may hold."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from churn.contract import Contract, parse_contract
from churn.histogram import INVALID, MISSING, UNKNOWN, Histograms, Profile, make_profile
from churn.prediction import Prediction
from tests.fakes import random_customers

SMALL = parse_contract("""
name = "small"
title = "A small one"
[source]
id = "id"
[source.target]
column = "left"
positive = "yes"
[features.tenure_months]
type = "integer"
[features.spend]
type = "number"
[features.plan]
type = "category"
levels = ["basic", "plus"]
[features.paperless]
type = "boolean"
""")


def predict(features: dict[str, Any], probability: float = 0.5, unknown: tuple[str, ...] = ()) -> Prediction:
    return Prediction(
        prediction_id="p",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        contract="small",
        contract_hash="0" * 12,
        model_run_id="run",
        route="http",
        features=features,
        unknown=unknown,
        churn_probability=probability,
        churn=probability >= 0.5,
        threshold=0.5,
        latency_seconds=0.001,
    )


def reference(rows: int = 1_000) -> pd.DataFrame:
    random = np.random.default_rng(0)
    spend = np.where(np.arange(rows) % 4 == 0, 0.0, random.gamma(2.0, 50.0, rows))
    return pd.DataFrame(
        {
            "tenure_months": np.arange(rows) % 12,
            "spend": spend,
            "plan": ["basic", "plus", None, "basic"] * (rows // 4),
            "paperless": [True, False] * (rows // 2),
            "churn_probability": random.beta(1, 5, rows),
            "churn": random.random(rows) < 0.2,
        }
    )


@pytest.fixture
def profile() -> Profile:
    return Profile.from_json(json.loads(json.dumps(make_profile(SMALL, reference()), allow_nan=False)))


def test_every_row_lies_in_exactly_one_cell_of_every_column(profile: Profile) -> None:
    assert {name: int(counts.sum()) for name, counts in profile.reference.counts.items()} == dict.fromkeys(
        ["tenure_months", "spend", "plan", "paperless", "churn_probability", "churn"], 1_000
    )


def test_the_reference_itself_has_nothing_out_of_range(profile: Profile) -> None:
    for column in profile.layout:
        if column.is_numeric:
            counts = profile.reference.counts[column.name]

            assert counts[0] == counts[column.values - 1] == 0, column.name


def test_few_whole_numbers_get_one_cell_a_value(profile: Profile) -> None:
    counts = profile.reference.counts["tenure_months"]

    assert counts.tolist() == [0, 84, 84, 84, 84, *[83] * 8, 0, 0, 0, 0]


def test_a_value_that_many_rows_share_gets_a_cell_of_its_own(profile: Profile) -> None:
    spend = next(column for column in profile.layout if column.name == "spend")

    assert profile.reference.counts["spend"][1] == 250
    assert spend.labels()[:2] == ["<0", "0"]
    assert max(profile.reference.counts["spend"][2:]) <= 52


def test_predictions_and_frames_are_counted_alike(profile: Profile) -> None:
    frame = reference().iloc[:200]
    from_frame, from_predictions = profile.empty(), profile.empty()
    from_frame.update_frame(frame)
    from_predictions.update(
        [
            predict({k: None if v is None else v for k, v in row.items() if k not in ("churn_probability", "churn")}, p)
            for row, p in zip(frame.to_dict("records"), frame["churn_probability"], strict=True)
        ]
    )
    from_predictions.counts["churn"] = from_frame.counts["churn"]  # the fake decides by its own threshold

    assert from_predictions == from_frame


def test_merging_in_any_order_equals_counting_all_at_once(profile: Profile) -> None:
    frame = reference()
    whole = profile.empty()
    whole.update_frame(frame)
    parts = [profile.empty() for _ in range(3)]
    for index, part in enumerate(parts):
        part.update_frame(frame.iloc[index::3])

    assert parts[0] + parts[1] + parts[2] == whole
    assert parts[2] + (parts[0] + parts[1]) == whole
    assert profile.empty().load(json.loads(json.dumps(whole.to_json()))) == whole


def test_unknown_levels_and_missing_values_are_counted_apart(profile: Profile) -> None:
    window = profile.empty()
    window.update(
        [
            predict({"tenure_months": 1, "spend": None, "plan": None, "paperless": True}, unknown=("plan",)),
            predict({"tenure_months": 1, "spend": 2.0, "plan": None, "paperless": None}),
            predict({"tenure_months": 1, "spend": 2.0, "plan": "gold", "paperless": None}),
        ]
    )

    assert (window.counts["plan"][UNKNOWN], window.counts["plan"][MISSING]) == (2, 1)
    assert (window.counts["spend"][MISSING], window.counts["paperless"][MISSING]) == (1, 2)


def test_what_cannot_be_a_value_is_counted_as_invalid_and_upsets_nothing(profile: Profile) -> None:
    window = profile.empty()
    window.update(
        [
            predict({"tenure_months": math.inf, "spend": "much", "plan": 3, "paperless": "yes"}),
            predict({"tenure_months": math.nan, "spend": [1], "plan": ["basic"], "paperless": {}}),
            predict({"spend": 10**400, "plan": "plus", "paperless": True}, probability=math.nan),
        ]
    )

    assert window.rows == 3
    assert {name: int(counts[INVALID]) for name, counts in window.counts.items()} == {
        "tenure_months": 1,
        "spend": 3,
        "plan": 2,
        "paperless": 1,
        "churn_probability": 0,
        "churn": 0,
    }
    assert all(counts.sum() == 3 for counts in window.counts.values())
    assert window.counts["tenure_months"][MISSING] == 2


def test_out_of_range_values_lie_in_the_open_cells_and_the_range_is_known(profile: Profile) -> None:
    window = profile.empty()
    window.update([predict({"spend": value}) for value in (-5.0, 0.0, 10.0, 1e9)])
    counts = window.counts["spend"]

    assert (counts[0], counts[1], counts[profile.layout[1].values - 1]) == (1, 1, 1)
    assert window.ranges["spend"] == (-5.0, 1e9)


def test_a_column_of_nulls_in_the_reference_still_takes_values() -> None:
    frame = reference().assign(spend=None).drop(columns="plan")
    profile = Profile.from_json(make_profile(SMALL, frame))
    window = profile.empty()
    window.update([predict({"spend": 3.0, "plan": "plus"})])

    assert profile.reference.counts["spend"].tolist() == [0, 1_000, 0, 0]
    assert window.counts["spend"].tolist() == [1, 0, 0, 0]
    assert profile.reference.counts["plan"][MISSING] == 1_000


def test_histograms_of_different_bundles_do_not_merge(profile: Profile) -> None:
    other = Profile.from_json(make_profile(SMALL, reference().assign(spend=1.0)))

    with pytest.raises(ValueError, match="different bundles"):
        _ = profile.empty() + other.empty()
    with pytest.raises(ValueError, match="another bundle"):
        other.empty().load(profile.empty().to_json())


def test_a_profile_of_another_version_is_refused_with_what_to_do() -> None:
    with pytest.raises(ValueError, match="version 99: expected 1; train again"):
        Profile.from_json({"version": 99})


def test_the_shipped_contract_gets_a_column_for_every_feature(credit_card: Contract) -> None:
    frame = random_customers(credit_card, 500)
    profile = Profile.from_json(make_profile(credit_card, frame))

    assert [column.name for column in profile.layout] == list(credit_card.feature_names)
    assert isinstance(profile.empty(), Histograms)
