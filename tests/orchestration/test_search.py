"""The search: finds a minimum, survives failing trials, keeps to its budget, can be repeated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from churn.errors import RegistryUnavailable
from orchestration.families.family import Dimension
from orchestration.families.xgboost_family import XGBoostFamily
from orchestration.search import SearchFailed, search


class Hill(XGBoostFamily):
    """A family that is searched and never fitted: its loss is known."""

    name = "hill"
    space: Mapping[str, Dimension] = {
        "x": Dimension("uniform", -10, 10),
        "steps": Dimension("integer", 1, 3),
        "scale": Dimension("log_uniform", 0.01, 100),
    }
    start: Mapping[str, float] = {}


class Valley(Hill):
    name = "valley"
    space: Mapping[str, Dimension] = {"depth": Dimension("integer", 5, 9)}


def height(number: int, family: str, parameters: Mapping[str, Any]) -> tuple[float, dict[str, Any]]:
    loss = parameters["x"] ** 2 if family == "hill" else 1_000.0 + parameters["depth"]
    return loss, {"family": family, **parameters}


def test_the_best_comes_first_and_every_trial_keeps_to_the_space() -> None:
    found, failed = search(height, [Hill(), Valley()], trials=30, seed=1, show_progress=False)

    assert failed == 0
    assert sorted(one.number for one in found) == list(range(30))
    assert [one.loss for one in found] == sorted(one.loss for one in found)
    assert abs(found[0].result["x"]) < 2
    hills = [one.result for one in found if one.result["family"] == "hill"]
    assert all(type(one["steps"]) is int and 1 <= one["steps"] <= 3 and 0.01 <= one["scale"] <= 100 for one in hills)
    assert {one.result["family"] for one in found} == {"hill", "valley"}
    assert all(set(one.result) == {"family", "depth"} for one in found if one.result["family"] == "valley")


def test_the_same_seed_gives_the_same_search() -> None:
    first, _ = search(height, [Hill()], trials=8, seed=5, show_progress=False)
    again, _ = search(height, [Hill()], trials=8, seed=5, show_progress=False)
    other, _ = search(height, [Hill()], trials=8, seed=6, show_progress=False)

    assert first == again
    assert first != other


def test_a_trial_that_fails_does_not_end_the_search() -> None:
    def every_third_fails(number: int, family: str, parameters: Mapping[str, Any]) -> tuple[float, int]:
        if number % 3 == 0:
            raise ValueError("a library gave up")
        return (float("nan") if number % 3 == 1 else 1.0), number

    found, failed = search(every_third_fails, [Hill()], trials=9, seed=1, show_progress=False)

    assert [one.result for one in found] == [2, 5, 8]
    assert failed == 6


def test_when_all_fail_the_last_reason_is_told() -> None:
    def fails(number: int, family: str, parameters: Mapping[str, Any]) -> tuple[float, int]:
        raise ValueError("no such thing")

    with pytest.raises(SearchFailed, match="none of 3 trials succeeded; the last: ValueError: no such thing"):
        search(fails, [Hill()], trials=3, seed=1, show_progress=False)


def test_an_outage_ends_the_search_at_once() -> None:
    calls = []

    def outage(number: int, family: str, parameters: Mapping[str, Any]) -> tuple[float, int]:
        calls.append(number)
        raise RegistryUnavailable("MLflow is gone")

    with pytest.raises(RegistryUnavailable):
        search(outage, [Hill()], trials=5, seed=1, show_progress=False)
    assert calls == [0]


def test_no_trial_begins_after_the_time_budget() -> None:
    import time

    def slow(number: int, family: str, parameters: Mapping[str, Any]) -> tuple[float, int]:
        deadline = time.monotonic() + 0.2
        while time.monotonic() < deadline:
            pass
        return 1.0, number

    found, _ = search(slow, [Hill()], trials=1_000, seed=1, time_budget_seconds=1, show_progress=False)

    assert 1 <= len(found) <= 10


def test_every_family_is_tried_first_where_it_says() -> None:
    class Start(Hill):
        start: Mapping[str, float] = {"x": 3.0, "steps": 2, "scale": 0.5}

    class Deep(Valley):
        start: Mapping[str, float] = {"depth": 7}

    found, _ = search(height, [Start(), Deep()], trials=12, seed=1, show_progress=False)
    results = [one.result for one in sorted(found, key=lambda one: one.number)]

    assert results[0] == {"family": "hill", "x": 3.0, "steps": 2, "scale": pytest.approx(0.5)}
    assert results[1] == {"family": "valley", "depth": 7}
    assert len(results) == 12


def test_a_search_shorter_than_its_starts_keeps_to_its_number() -> None:
    class Deep(Valley):
        start: Mapping[str, float] = {"depth": 7}

    class Deeper(Deep):
        name = "deeper"

    found, _ = search(height, [Deep(), Deeper()], trials=1, seed=1, show_progress=False)

    assert [one.result for one in found] == [{"family": "valley", "depth": 7}]
