"""One pass over a window: exact totals, a fair sample."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest

from reporting.tally import SLOTS, Tally
from reporting.window import Window
from tests.fake_evidently import Send


def test_totals_are_exact(send: Send, day: Window) -> None:
    predictions = send(1_000, latency_seconds=0.002)
    tally = Tally(day, None, sample_rows=100, seed=0).take(predictions)

    assert tally.rows == 1_000
    assert tally.routes == {"stream": 250, "http": 750}
    assert tally.flagged == sum(prediction.churn for prediction in predictions)
    assert tally.mean_probability == pytest.approx(sum(p.churn_probability for p in predictions) / 1_000)
    assert tally.missing == Counter(name for prediction in predictions for name in prediction.missing)
    assert int(tally.score_counts.sum()) == int(tally.slot_rows.sum()) == 1_000
    assert tally.slot_rows.max() - tally.slot_rows.min() <= 1
    assert tally.latency_quantiles() == pytest.approx((0.002, 0.002))
    assert (tally.first_at, tally.last_at) == (day.start, day.end - timedelta(days=1) / 1_000)


def test_a_sample_is_bounded_and_every_row_has_the_same_chance(send: Send, day: Window) -> None:
    predictions = send(300)
    position = {prediction.prediction_id: index for index, prediction in enumerate(predictions)}
    drawn = Counter(
        position[kept.prediction_id] // 100
        for seed in range(200)
        for kept in Tally(day, None, 30, seed).take(predictions).sample
    )

    assert sum(drawn.values()) == 200 * 30
    # 2,000 of each third are expected, with a standard deviation of 36.
    assert all(abs(count - 2_000) < 150 for count in drawn.values())


def test_nothing_is_something_that_can_be_counted(day: Window) -> None:
    tally = Tally(day, None, 10, 0).take([])

    assert (tally.rows, tally.mean_probability, tally.latency_quantiles(), len(tally.slot_rows)) == (
        0,
        None,
        None,
        SLOTS,
    )
