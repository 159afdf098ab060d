"""Windows: what is asked for, what is missed, and how they are named."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from churn.errors import ReportError
from reporting.window import Window, days, last_hours, make_window

NOW = datetime(2026, 1, 31, 12, 30, tzinfo=UTC)


def test_without_times_it_is_yesterday_in_utc() -> None:
    assert make_window(None, None, NOW) == Window(datetime(2026, 1, 30, tzinfo=UTC), datetime(2026, 1, 31, tzinfo=UTC))


def test_one_end_alone_means_a_day() -> None:
    after, before = make_window("2026-01-02", None, NOW), make_window(None, "2026-01-03", NOW)

    assert after == before == Window(datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 3, tzinfo=UTC))


def test_other_time_zones_become_utc() -> None:
    window = make_window("2026-01-02T00:00:00+05:30", "2026-01-02T12:00", NOW)

    assert window.slug == "20260101T183000Z--20260102T120000Z"


@pytest.mark.parametrize(
    ("start", "end", "sentence"),
    [
        ("2026-01-02", "2026-01-02", "--from 2026-01-02 --to 2026-01-02: the window is empty"),
        ("2026-01-03", "2026-01-02", "the window is empty"),
        ("soon", None, "'soon': expected a date or a time such as 2026-01-31"),
    ],
)
def test_a_window_that_makes_no_sense_is_refused_in_words(start: str, end: str | None, sentence: str) -> None:
    with pytest.raises(ReportError, match=sentence):
        make_window(start, end, NOW)


def test_the_last_hours_end_now() -> None:
    assert last_hours(1.5, NOW) == Window(NOW - timedelta(minutes=90), NOW)
    for hours in (0, -1, float("nan"), 1e9):
        with pytest.raises(ReportError, match="--last-hours"):
            last_hours(hours, NOW)


def test_only_days_that_have_ended_are_missed() -> None:
    found = list(days(datetime(2026, 1, 29, 5, tzinfo=UTC), NOW))

    assert [str(window) for window in found] == ["29 Jan 2026, UTC", "30 Jan 2026, UTC"]


def test_windows_that_differ_by_microseconds_have_names_that_differ() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    slugs = {Window(start, start + timedelta(seconds=1, microseconds=extra)).slug for extra in (0, 1)}

    assert slugs == {"20260101T000000Z--20260101T000001Z", "20260101T000000Z--20260101T000001.000001Z"}
