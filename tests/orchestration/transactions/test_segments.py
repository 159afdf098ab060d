"""Segments: as many as the customers have, each with the name that fits it, the same for customers met later."""

from __future__ import annotations

import numpy as np
import pandas as pd

from churn.transactions import SegmentName
from orchestration.transactions.segments import fit_segments

NAMES = (
    SegmentName("old friends", lately=1.0, often=1.2, much=1.2),
    SegmentName("fresh faces", lately=1.0, often=-0.8, much=-0.8),
    SegmentName("gone", lately=-1.2, often=-0.8, much=-0.8),
    SegmentName("whales", lately=0.0, often=0.0, much=3.0),
    SegmentName("nobody", lately=-3.0, often=3.0, much=-3.0),
)


def groups(sizes: tuple[int, ...] = (80, 60, 100)) -> pd.DataFrame:
    random = np.random.default_rng(0)
    centres = [(5, 30, 5_000), (6, 1.5, 100), (250, 1.4, 90)]
    rows = [
        np.array(centre) * np.exp(0.15 * random.standard_normal((size, 3)))
        for centre, size in zip(centres, sizes, strict=True)
    ]
    return pd.DataFrame(np.concatenate(rows), columns=["recency", "frequency", "spend"])


def test_three_groups_are_found_and_named_by_where_they_lie() -> None:
    customers = groups()

    segments = fit_segments(customers, NAMES)

    assert segments is not None
    assert segments.of(customers) == ["old friends"] * 80 + ["fresh faces"] * 60 + ["gone"] * 100
    told = segments.told(customers)
    assert (told["count"], told["customers"]) == (3, {name: told["customers"][name] for name in segments.names})
    assert told["silhouette"] == max(told["silhouettes"].values()) > 0.7
    assert set(told["silhouettes"]) == {"2", "3", "4", "5"}


def test_a_customer_met_later_gets_the_nearest_name() -> None:
    segments = fit_segments(groups(), NAMES)

    assert segments is not None
    later = pd.DataFrame({"recency": [4.0, 300.0], "frequency": [40, 1], "spend": [9_000.0, 60.0]})
    assert segments.of(later) == ["old friends", "gone"]


def test_the_same_customers_give_the_same_segments() -> None:
    first, again = fit_segments(groups(), NAMES), fit_segments(groups(), NAMES)

    assert first is not None
    assert again is not None
    np.testing.assert_array_equal(first.centres, again.centres)


def test_customers_too_few_or_all_alike_have_none() -> None:
    assert fit_segments(groups().head(3), NAMES) is None
    assert (
        fit_segments(pd.DataFrame({"recency": [1.0] * 50, "frequency": [2] * 50, "spend": [3.0] * 50}), NAMES) is None
    )
