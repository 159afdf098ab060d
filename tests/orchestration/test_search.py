"""The search: finds a minimum, survives failing trials, keeps to its budget, can be repeated and gone on with."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from churn.errors import RegistryUnavailable
from orchestration.families.family import Dimension
from orchestration.families.xgboost_family import XGBoostFamily
from orchestration.outcome import Outcome
from orchestration.search import SearchFailed, ranked, search, space_sha256
from orchestration.task_trials import LAG_TRIALS, Threads

Run = Callable[[int, str, Mapping[str, Any], Outcome | None], Outcome]


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


def height(number: int, family: str, parameters: Mapping[str, Any], best: Outcome | None) -> Outcome:
    loss = parameters["x"] ** 2 if family == "hill" else 1_000.0 + parameters["depth"]
    return Outcome(number, "finished", family, parameters, loss)


def find(run: Run, families: Sequence[Any], trials: int, seed: int = 1, workers: int = 1, **more: Any) -> list[Outcome]:
    with Threads(run, workers) as pool:
        return search(pool, families, trials, seed, show_progress=False, **more)


def test_the_best_comes_first_and_every_trial_keeps_to_the_space() -> None:
    outcomes = find(height, [Hill(), Valley()], trials=30)
    best = ranked(outcomes)

    assert [one.number for one in outcomes] == list(range(30))
    assert [one.loss for one in best] == sorted(one.loss for one in outcomes)  # type: ignore[type-var]  # all have one
    assert abs(best[0].parameters["x"]) < 2
    hills = [one.parameters for one in outcomes if one.family == "hill"]
    assert all(type(one["steps"]) is int and 1 <= one["steps"] <= 3 and 0.01 <= one["scale"] <= 100 for one in hills)
    assert {one.family for one in outcomes} == {"hill", "valley"}
    assert all(set(one.parameters) == {"depth"} for one in outcomes if one.family == "valley")


def test_the_same_seed_gives_the_same_search() -> None:
    first, again, other = (find(height, [Hill()], trials=8, seed=seed) for seed in (5, 5, 6))

    assert first == again
    assert first != other


@pytest.mark.parametrize("done", [0, 1, 5, 11])
def test_a_search_that_is_gone_on_with_draws_what_the_whole_one_would_have_drawn(done: int) -> None:
    """What is known of the first trials went through JSON, as MLflow keeps it."""

    def some_fail(number: int, family: str, parameters: Mapping[str, Any], best: Outcome | None) -> Outcome:
        if number % 4 == 3:
            return Outcome(number, "failed", family, parameters, reason="a library gave up")
        return height(number, family, parameters, best)

    whole = find(some_fail, [Hill(), Valley()], trials=12)
    known = [Outcome.from_json(one.to_json()) for one in whole[:done]]

    assert find(some_fail, [Hill(), Valley()], trials=12, known=known) == whole


def test_gaps_that_several_workers_left_are_filled() -> None:
    whole = find(height, [Hill()], trials=9)
    known = [one for one in whole if one.number not in (3, 7)]
    ran = []

    def noted(number: int, *given: Any) -> Outcome:
        ran.append(number)
        return height(number, *given)

    outcomes = find(noted, [Hill()], trials=10, known=known)

    assert ran == [3, 7, 9]
    assert [one.number for one in outcomes] == list(range(10))


def test_nothing_runs_when_all_is_known() -> None:
    whole = find(height, [Hill()], trials=3)

    assert find(lambda *_: pytest.fail("ran"), [Hill()], trials=3, known=whole) == whole


def test_a_trial_that_fails_does_not_end_the_search() -> None:
    def every_third(number: int, family: str, parameters: Mapping[str, Any], best: Outcome | None) -> Outcome:
        if number % 3 == 0:
            return Outcome(number, "failed", family, parameters, reason="a library gave up")
        return Outcome(number, "finished", family, parameters, 1.0)

    outcomes = find(every_third, [Hill()], trials=9)

    assert [one.number for one in ranked(outcomes)] == [1, 2, 4, 5, 7, 8]
    assert [one.number for one in outcomes if one.status == "failed"] == [0, 3, 6]


def test_when_all_fail_the_last_reason_is_told() -> None:
    def fails(number: int, family: str, parameters: Mapping[str, Any], best: Outcome | None) -> Outcome:
        return Outcome(number, "failed", family, parameters, reason="ValueError: no such thing")

    with pytest.raises(SearchFailed, match="none of 3 trials succeeded; the last: ValueError: no such thing"):
        find(fails, [Hill()], trials=3)


def test_an_outage_ends_the_search_at_once() -> None:
    calls = []

    def outage(number: int, *_: Any) -> Outcome:
        calls.append(number)
        raise RegistryUnavailable("MLflow is gone")

    with pytest.raises(RegistryUnavailable):
        find(outage, [Hill()], trials=5)
    assert calls == [0]


def test_no_trial_begins_after_the_time_budget() -> None:
    def slow(number: int, family: str, parameters: Mapping[str, Any], best: Outcome | None) -> Outcome:
        time.sleep(0.1)  # stands for a fit, which takes its time
        return Outcome(number, "finished", family, parameters, 1.0)

    outcomes = find(slow, [Hill()], trials=1_000, time_budget_seconds=0.5)

    assert 1 <= len(outcomes) <= 6


@pytest.mark.parametrize("workers", [2, LAG_TRIALS])
def test_a_search_is_the_same_with_more_workers_whichever_ends_first(workers: int) -> None:
    """Fits that take their time, by turns long and short, so that later trials overtake earlier ones."""
    began = []

    def uneven(number: int, family: str, parameters: Mapping[str, Any], best: Outcome | None) -> Outcome:
        began.append(number)
        time.sleep((0.05, 0.0, 0.02)[number % 3])
        told = best.number if best else -1
        return Outcome(number, "finished", family, parameters, parameters["x"] ** 2, (told,))

    alone = find(uneven, [Hill()], trials=40)
    together = find(uneven, [Hill()], trials=40, workers=workers)

    assert together == alone
    assert sorted(began) == sorted([*range(40)] * 2)
    assert len({one.parameters["x"] for one in alone}) == 40


def test_a_cluster_learns_from_whatever_has_ended() -> None:
    told: dict[int, Outcome | None] = {}

    def noted(number: int, family: str, parameters: Mapping[str, Any], best: Outcome | None) -> Outcome:
        told[number] = best
        return height(number, family, parameters, best)

    with Threads(noted) as pool:
        pool.lag = None
        outcomes = search(pool, [Hill()], 6, 1, show_progress=False)

    assert all(told[number] == ranked(outcomes[:number])[0] for number in range(1, 6))


def test_each_trial_is_told_the_best_of_those_it_knows() -> None:
    told: dict[int, Outcome | None] = {}

    def noted(number: int, family: str, parameters: Mapping[str, Any], best: Outcome | None) -> Outcome:
        told[number] = best
        return height(number, family, parameters, best)

    outcomes = find(noted, [Hill()], trials=12)

    assert [told[number] for number in range(LAG_TRIALS)] == [None] * LAG_TRIALS
    for number in range(LAG_TRIALS, 12):
        assert told[number] == ranked(outcomes[: number - LAG_TRIALS + 1])[0]


def test_as_many_run_at_a_time_as_there_is_room_for() -> None:
    """Two meet at a barrier that none passes alone; a third would have waited there for ever."""
    import threading

    together, most, running = threading.Barrier(2, timeout=10), 0, 0
    lock = threading.Lock()

    def meet(number: int, *given: Any) -> Outcome:
        nonlocal most, running
        with lock:
            running += 1
            most = max(most, running)
        together.wait()
        with lock:
            running -= 1
        return height(number, *given)

    outcomes = find(meet, [Hill()], trials=6, workers=2)

    assert (len(outcomes), most) == (6, 2)


def test_every_family_is_tried_first_where_it_says() -> None:
    class Start(Hill):
        start: Mapping[str, float] = {"x": 3.0, "steps": 2, "scale": 0.5}

    class Deep(Valley):
        start: Mapping[str, float] = {"depth": 7}

    outcomes = find(height, [Start(), Deep()], trials=12)

    assert (outcomes[0].family, outcomes[0].parameters) == ("hill", {"x": 3.0, "steps": 2, "scale": pytest.approx(0.5)})
    assert (outcomes[1].family, outcomes[1].parameters) == ("valley", {"depth": 7})
    assert len(outcomes) == 12


def test_a_search_shorter_than_its_starts_keeps_to_its_number() -> None:
    class Deep(Valley):
        start: Mapping[str, float] = {"depth": 7}

    class Deeper(Deep):
        name = "deeper"

    (only,) = find(height, [Deep(), Deeper()], trials=1)

    assert (only.family, only.parameters) == ("valley", {"depth": 7})


def test_a_space_is_known_by_its_families_bounds_and_starts() -> None:
    class Wider(Valley):
        space: Mapping[str, Dimension] = {"depth": Dimension("integer", 5, 10)}

    assert space_sha256([Hill(), Valley()]) == space_sha256([Hill(), Valley()])
    assert len({space_sha256(f) for f in ([Hill()], [Valley()], [Wider()], [Hill(), Valley()])}) == 4
