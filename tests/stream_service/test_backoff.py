"""Trying again: later each time, never in step with others."""

from __future__ import annotations

from random import Random

from stream_service.backoff import Backoff


def test_pauses_are_drawn_below_a_ceiling_that_doubles_and_then_stays() -> None:
    ordeals = [Backoff(Random(seed), first_seconds=0.2, longest_seconds=10.0) for seed in range(200)]
    drawn = [[ordeal.next_seconds() for ordeal in ordeals] for _ in range(9)]

    for ceiling, pauses in zip([0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0, 10.0], drawn, strict=True):
        assert 0.9 * ceiling < max(pauses) <= ceiling
        assert min(pauses) < 0.1 * ceiling
        assert len(set(pauses)) == 200


def test_success_brings_the_ceiling_back() -> None:
    ordeal = Backoff(Random(1))
    for _ in range(8):
        ordeal.next_seconds()

    ordeal.reset()

    assert ordeal.next_seconds() <= 0.2
