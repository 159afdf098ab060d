"""Has the meaning of the features changed? ADWIN on the errors of labelled predictions: the one home of river.

Every estimate without labels is blind to this: the same customers, scored alike, begin to behave differently. ADWIN
(A. Bifet and R. Gavalda, "Learning from time-changing data with adaptive windowing", SDM 2007) keeps a window of the
newest errors and cuts off its older part when the two means differ by more than chance `DELTA` allows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

DELTA = 0.002
"""River's default. In the benchmark: no false alarm in 100,000 quiet labels."""


@dataclass(frozen=True, slots=True)
class ConceptShift:
    """The share of wrong decisions changed, noticed at the label `index` (the first is 0)."""

    index: int
    error_before: float
    error_after: float

    @property
    def worse(self) -> bool:
        """Whether more decisions are wrong than before, rather than fewer."""
        return self.error_after > self.error_before


def find_concept_shifts(errors: Iterable[bool], delta: float = DELTA) -> list[ConceptShift]:
    """Every change in the share of errors, in order. `errors` are those of predictions in the order they were made."""
    from river.drift import ADWIN  # only where labels are

    detector = ADWIN(delta=delta)
    shifts = []
    for index, error in enumerate(errors):
        before = float(detector.estimation)
        detector.update(float(error))
        if detector.drift_detected:
            shifts.append(ConceptShift(index, before, float(detector.estimation)))
    return shifts
