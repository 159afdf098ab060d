"""Requests that meet share one call; each gets its own result or its group's error."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from web_service.combiner import Combiner


def test_a_lone_request_is_its_own_group() -> None:
    groups: list[list[int]] = []
    combiner: Combiner[int, int] = Combiner(lambda works: groups.append(list(works)) or [w * 2 for w in works])

    assert combiner.run(21) == 42
    assert groups == [[21]]


def test_requests_that_wait_for_one_another_become_a_group() -> None:
    entered, go = threading.Event(), threading.Event()
    groups: list[list[int]] = []

    def together(works: Sequence[int]) -> list[int]:
        groups.append(list(works))
        entered.set()
        go.wait(5)
        return [work * 2 for work in works]

    combiner = Combiner(together)
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(combiner.run, 0)
        entered.wait(5)
        others = [pool.submit(combiner.run, i) for i in range(1, 9)]
        while len(combiner._waiting) < 8:
            pass
        go.set()

        assert first.result(5) == 0
        assert [other.result(5) for other in others] == [i * 2 for i in range(1, 9)]
    assert [len(group) for group in groups] == [1, 8]


def test_everybody_gets_their_own_result_under_load() -> None:
    combiner: Combiner[int, int] = Combiner(lambda works: [work + 1 for work in works], limit=5)

    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(combiner.run, range(5_000)))

    assert results == list(range(1, 5_001))


def test_an_error_reaches_the_whole_group_and_the_next_group_is_served() -> None:
    broken = [True]

    def together(works: Sequence[int]) -> list[int]:
        if broken[0]:
            raise OSError("no room")
        return list(works)

    combiner = Combiner(together)
    with pytest.raises(OSError, match="no room"):
        combiner.run(1)
    broken[0] = False

    assert combiner.run(2) == 2
