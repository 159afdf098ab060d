"""What changed since the last report: sentences for what is more than chance."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from reporting.changes import changes, moved
from reporting.document import ColumnReport, Figures, Report

DAY = datetime(2026, 1, 29, tzinfo=UTC)


def figures(rows: int, flagged: int, threshold: float = 0.5, routes: dict[str, int] | None = None) -> Figures:
    return Figures(rows, routes or {"http": rows}, flagged, 0.2, [threshold], 0, None, None, None, None)


def column(name: str, drifted: bool, missing: float = 0.0) -> ColumnReport:
    return ColumnReport(name, "", None, "drifted" if drifted else "quiet", "", missing_window=missing)


def report(
    rows: int = 1_000, flagged: int = 200, columns: list[ColumnReport] | None = None, run: str = "run"
) -> Report:
    end = DAY + timedelta(days=1)
    return Report("c", "C", run, DAY, end, end, "ok", "", figures(rows, flagged), columns=columns or [])


def test_a_first_report_says_so() -> None:
    assert changes(report(), None, None) == ["This is the first report on this run."]


def test_a_new_run_names_the_one_before() -> None:
    assert changes(report(), None, report(run="b" * 32)) == [
        "The model changed: before, run bbbbbbbbbbbb answered. This is the first report on this run."
    ]


def test_what_chance_brings_is_not_news() -> None:
    assert changes(report(1_000, 200), report(1_040, 215), None) == ["Nothing beyond what chance brings."]


def test_traffic_answers_and_threshold_are_told() -> None:
    now = replace(report(), figures=figures(1_500, 450, threshold=0.4))

    assert changes(now, report(), None) == [
        "50 % more predictions an hour: 62, was 42.",
        "The threshold is 0.4, was 0.5.",
        "Answered “will leave”: 30 % of customers, was 20 %.",
    ]


def test_windows_of_different_length_are_compared_by_the_hour() -> None:
    half = replace(report(500, 100), end=DAY + timedelta(hours=12))

    assert changes(half, report(1_000, 200), None) == ["Nothing beyond what chance brings."]


def test_drift_is_new_old_or_over() -> None:
    before = report(columns=[column("a", True), column("b", True), column("c", False)])
    now = report(columns=[column("a", True), column("b", False), column("c", True)])

    assert changes(now, before, None) == ["Newly drifted: c.", "Still drifted: a.", "Back to the reference: b."]


def test_a_window_that_was_not_judged_gives_no_all_clear() -> None:
    now = replace(report(columns=[column("a", False)]), state="insufficient")

    assert changes(now, report(columns=[column("a", True)]), None) == ["The state went from ok to insufficient."]


def test_missing_values_are_told_when_there_are_more() -> None:
    now, before = report(columns=[column("a", False, 0.3)]), report(columns=[column("a", False, 0.02)])

    assert changes(now, before, None) == ["Missing a: 30 %, was 2 %."]


def test_a_route_that_went_silent_is_told() -> None:
    before = replace(report(), figures=figures(1_000, 200, routes={"http": 900, "stream": 100}))

    assert changes(report(), before, None) == ["No predictions came by stream any more."]


def test_silence_and_its_end_are_told() -> None:
    silent = replace(report(0, 0), state="empty")

    assert changes(silent, report(), None) == [
        "The state went from ok to empty.",
        "100 % fewer predictions an hour: 0, was 42.",
    ]
    assert "Predictions came again: 1,000 in this window." in changes(report(), silent, None)


def test_shares_move_only_beyond_three_standard_errors() -> None:
    assert not moved(0.22, 1_000, 0.20, 1_000)
    assert moved(0.26, 1_000, 0.20, 1_000)
    assert not moved(0.0, 0, 0.5, 10)
    assert not moved(0.0, 10, 0.0, 10)
