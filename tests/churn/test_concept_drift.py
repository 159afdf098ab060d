"""Rising errors are found at a label that is told exactly; steady ones are not found."""

from __future__ import annotations

import numpy as np

from churn.concept_drift import find_concept_shifts


def test_errors_that_rise_from_3_to_10_percent_are_found_within_500_labels() -> None:
    random = np.random.default_rng(1)
    errors = np.concatenate([random.random(2_000) < 0.034, random.random(1_000) < 0.10])
    shifts = find_concept_shifts(errors)

    assert [(shift.index, shift.worse) for shift in shifts][:1] == [(2_271, True)]


def test_steady_errors_are_no_shift() -> None:
    assert find_concept_shifts(np.random.default_rng(2).random(5_000) < 0.034) == []
    assert find_concept_shifts([]) == []


def test_errors_that_fall_are_a_shift_for_the_better() -> None:
    random = np.random.default_rng(3)
    shifts = find_concept_shifts(np.concatenate([random.random(2_000) < 0.3, random.random(1_000) < 0.05]))

    assert shifts
    assert not any(shift.worse for shift in shifts)
