"""The pager's policy: when an alarm opens, lasts, closes and stays silent, and what is a cause of its own."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from churn.drift import ColumnVerdict, WindowVerdict, broken
from churn.quality import QualityProblem
from monitoring.alarms import AlarmBook, AlarmPolicy, find_causes, replay
from monitoring.judged import Judged
from monitoring.windows import Window

START = datetime(2026, 1, 31, tzinfo=UTC)
QUIET = ColumnVerdict(
    column="quiet",
    kind="number",
    method="ks",
    statistic=0.01,
    p_value=1.0,
    adjusted_p_value=1.0,
    threshold=0.01,
    js_distance=0.02,
    psi=0.01,
    effect=0.0,
    minimum_effect=0.02,
    missing_share=0.0,
    unknown_share=0.0,
    invalid_share=0.0,
    out_of_range_share=0.0,
    reference_missing_share=0.0,
    reference_unknown_share=0.0,
    drifted=False,
    reason="as the reference",
)


def drifted(name: str, effect: float = 0.2, **fields: Any) -> ColumnVerdict:
    return replace(QUIET, column=name, effect=effect, drifted=True, reason="moved", **fields)


def window(number: int, *columns: ColumnVerdict, state: Any = "ok", **fields: Any) -> Judged:
    start = START + timedelta(hours=number)
    verdict = WindowVerdict(state, "", 500, 5_000, 0.01, columns or (QUIET,))
    place = Window("credit_card", "run", "seconds-3600", number, start, start + timedelta(hours=1))
    return Judged(place, None, start, None, verdict, **fields)


def rings(pattern: str, policy: AlarmPolicy) -> str:
    """Feeds `x` (drift), `.` (quiet) and `?` (insufficient); answers `!` for each window after which it rings."""
    book, heard = AlarmBook(policy), ""
    for number, mark in enumerate(pattern):
        book.observe(
            window(number, drifted("spend") if mark == "x" else QUIET, state="ok" if mark in "x." else "insufficient")
        )
        heard += "!" if book.ringing else "."
    return heard


@pytest.mark.parametrize(
    ("policy", "pattern", "heard"),
    [
        (AlarmPolicy(2, 2), "x.x.xx..xx", ".....!!..!"),
        (AlarmPolicy(2, 2), "xx.x..", ".!!!!."),
        (AlarmPolicy(2, 2), "x?x?", "..!!"),
        (AlarmPolicy(1, 1), "x.x.", "!.!."),
        (AlarmPolicy(2, 3), "x.x...", "..!!.."),
        (AlarmPolicy(2, 3), "x..x..", "......"),
        (AlarmPolicy(1, 1, cooldown_windows=3), "x.xxxx", "!...!!"),
    ],
)
def test_an_alarm_opens_after_k_of_n_closes_after_k_quiet_and_cools_down(
    policy: AlarmPolicy, pattern: str, heard: str
) -> None:
    assert rings(pattern, policy) == heard


def test_a_restart_knows_what_rings() -> None:
    windows = [window(number, drifted("spend")) for number in range(3)]
    lasting = AlarmBook(AlarmPolicy())
    for judged in windows:
        lasting.observe(judged)
    restarted = replay(windows[:2], AlarmPolicy())
    restarted.observe(windows[2])

    assert restarted.ringing == lasting.ringing
    assert [alarm.windows for alarm in restarted.ringing] == [3]


def test_a_broken_window_rings_at_once() -> None:
    book = AlarmBook(AlarmPolicy())
    book.observe(replace(window(0), verdict=broken("its bundle is gone")))

    assert [alarm.cause.summary for alarm in book.ringing] == ["cannot be judged: its bundle is gone"]


def test_a_column_with_bad_values_has_one_cause_not_two() -> None:
    problem = QualityProblem("spend", "missing", 0.3, 0.0, 0.02, 1e-9, "30.0% missing")

    assert list(find_causes(window(0, drifted("spend"), quality=(problem,)))) == ["missing:spend"]


def test_a_column_that_fails_by_turns_out_of_range_and_by_drift_rings_once() -> None:
    beyond = QualityProblem("spend", "out_of_range", 0.03, 0.0, 0.02, 1e-9, "3.0% outside")
    book, told = AlarmBook(AlarmPolicy()), []
    for number in range(4):
        book.observe(window(number, drifted("spend"), quality=(beyond,) if number % 2 else ()))
        told.append([alarm.cause.name for alarm in book.ringing])
    for number in range(4, 6):
        book.observe(window(number))

    assert told[0] == []
    assert told[1] == told[2] == told[3] == ["out_of_range:spend"]
    assert book.ringing == []


def test_the_score_is_a_cause_only_where_no_feature_moved() -> None:
    score = drifted("churn_probability", kind="score")

    assert list(find_causes(window(0, drifted("spend"), score))) == ["drift:spend"]
    assert list(find_causes(window(0, QUIET, score))) == ["drift:churn_probability"]


@pytest.mark.parametrize(
    ("effect", "importance", "severity"),
    [(0.05, 0.01, "ticket"), (0.1, 0.01, "page"), (0.03, 0.15, "page")],
)
def test_severity_is_by_effect_and_by_importance_in_the_model(effect: float, importance: float, severity: str) -> None:
    judged = window(0, drifted("spend", effect), importance={"spend": importance})

    assert find_causes(judged)["drift:spend"].severity == severity


def test_an_alarm_that_paged_does_not_become_a_ticket_while_it_lasts() -> None:
    book = AlarmBook(AlarmPolicy())
    for number, effect in enumerate((0.2, 0.2, 0.05)):
        book.observe(window(number, drifted("spend", effect)))

    assert [alarm.cause.severity for alarm in book.ringing] == ["page"]
