"""The split: fixed, stratified, complete."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from churn.errors import DataError
from churn.split import split


def customers(churned: int, stayed: int) -> pd.DataFrame:
    flags = np.array([True] * churned + [False] * stayed)
    return pd.DataFrame({"churned": np.random.default_rng(3).permutation(flags)})


def test_the_parts_share_no_row_and_leave_none_out() -> None:
    parts = split(customers(203, 800), seed=7)

    assert sorted(np.concatenate([parts.train, parts.validation, parts.test])) == list(range(1003))


def test_each_part_has_its_share_of_both_classes() -> None:
    frame = customers(200, 800)
    parts = split(frame, seed=7)

    shares = [
        (len(part), int(frame["churned"].iloc[part].sum())) for part in (parts.train, parts.validation, parts.test)
    ]
    assert shares == [(600, 120), (200, 40), (200, 40)]


def test_the_same_seed_gives_the_same_split_and_another_one_another() -> None:
    frame = customers(200, 800)

    assert np.array_equal(split(frame, 7).train, split(frame, 7).train)
    assert not np.array_equal(split(frame, 7).train, split(frame, 8).train)


def test_rows_are_shuffled_within_a_part() -> None:
    train = split(customers(200, 800), seed=7).train

    assert np.any(np.diff(train) < 0)


def test_unseen_rows_are_validation_then_test() -> None:
    parts = split(customers(200, 800), seed=7)

    assert list(parts.unseen) == [*parts.validation, *parts.test]


def test_a_class_with_too_few_rows_is_refused_with_its_count() -> None:
    with pytest.raises(DataError, match="4 of 104 customers churned: expected 5 or more"):
        split(customers(4, 100), seed=7)
