"""From histogram cells to the bars of a chart."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from churn.contract import Contract
from churn.histogram import Column, Profile, make_profile
from reporting.bars import MOST_LEVELS, STRETCHES, bars, number
from tests.fakes import random_customers


def profile_of(contract: Contract, frame: pd.DataFrame) -> Profile:
    return Profile.from_json(make_profile(contract, frame))


def test_bars_keep_every_row_of_a_number(credit_card: Contract) -> None:
    profile = profile_of(credit_card, random_customers(credit_card, 2_000))
    window = profile.empty()
    shifted = random_customers(credit_card, 500, 1)
    shifted["credit_limit"] += 300.0
    window.update_frame(shifted)
    column = next(column for column in profile.layout if column.name == "credit_limit")

    drawn = bars(column, profile.reference.counts["credit_limit"], window.counts["credit_limit"])

    assert drawn.shape == "steps"
    assert len(drawn.labels) == STRETCHES + 2
    assert sum(drawn.reference) == pytest.approx(1.0)
    assert sum(drawn.window) == pytest.approx(1.0)
    beyond = (shifted["credit_limit"] > column.edges[-1]).sum() / 500
    assert drawn.window[-1] == pytest.approx(beyond, abs=0.003)
    assert drawn.reference[0] == drawn.reference[-1] == 0.0


def test_equal_stretches_follow_the_true_density() -> None:
    edges = (0.0, 10.0, 20.0, 80.0, np.nextafter(80.0, 100.0))
    column = Column("x", "number", edges=edges)
    counts = np.array([0, 120, 120, 360, 0, 0, 0, 0, 0])

    drawn = bars(column, counts, counts)

    assert drawn.window[1:4] == pytest.approx([40 / 600, 40 / 600, 40 / 600])
    assert drawn.window[-2] == pytest.approx(20 / 600)


def test_whole_numbers_of_few_values_get_a_bar_each() -> None:
    column = Column("x", "number", edges=(1.0, 2.0, 3.0, np.nextafter(3.0, 4.0)))
    counts = np.array([1, 2, 3, 4, 0, 0, 0, 0])

    drawn = bars(column, counts, counts)

    assert drawn.shape == "values"
    assert drawn.labels == ["lower", "1", "2", "3", "higher"]
    assert drawn.window == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.0])


def test_missing_and_unknown_are_levels_where_there_are_any() -> None:
    column = Column("x", "category", levels=("a", "b"))

    drawn = bars(column, np.array([5, 5, 0, 0, 0]), np.array([4, 2, 3, 1, 0]))

    assert drawn.labels == ["a", "b", "missing", "unknown"]
    assert drawn.window == [0.4, 0.2, 0.3, 0.1]
    assert drawn.reference == [0.5, 0.5, 0.0, 0.0]


def test_many_levels_are_folded_but_the_one_that_moved_is_kept() -> None:
    levels = tuple(f"level {index}" for index in range(40))
    reference = np.array([10] * 40 + [0, 0, 0])
    window = reference.copy()
    window[33] = 200

    drawn = bars(Column("x", "category", levels=levels), reference, window)

    assert len(drawn.labels) == MOST_LEVELS
    assert "level 33" in drawn.labels
    assert drawn.labels[-1] == "29 others"
    assert sum(drawn.window) == pytest.approx(1.0)


def test_a_column_without_values_draws_nothing_and_does_not_divide_by_zero() -> None:
    empty = np.zeros(4, int)

    assert bars(Column("x", "number"), empty, empty).window == [0.0]


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (12_500, "12,500"), (0.03721, "0.0372"), (1e12, "1e+12")])
def test_axis_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text
