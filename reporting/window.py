"""Which stretch of time a report is about: parsing, naming, and the windows that were missed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from churn.errors import ReportError

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """Half open, in UTC: start <= created_at < end. As text, a whole day is its date."""

    start: datetime
    end: datetime

    @property
    def slug(self) -> str:
        """Its name in paths and keys; sorts by start, then end."""
        return f"{compact(self.start)}--{compact(self.end)}"

    def __str__(self) -> str:
        if self.end - self.start == DAY and self.start.time() == time():
            return f"{_day(self.start)}, UTC"
        return f"{readable(self.start)} to {readable(self.end)}"


def make_window(start: str | None, end: str | None, now: datetime) -> Window:
    """From ISO times, UTC unless they say otherwise; without any, yesterday in UTC. Raises ReportError.

    With one end only, the window is the day after `start`, or the day before `end`.
    """
    first, last = (moment(text) if text else None for text in (start, end))
    if first is None and last is None:
        last = datetime.combine(now.astimezone(UTC).date(), time(), UTC)
    if first is None:
        assert last is not None  # noqa: S101  # the case above
        first = last - DAY
    window = Window(first, last if last is not None else first + DAY)
    if window.end <= window.start:
        raise ReportError(f"--from {start} --to {end}: the window is empty; --to is its first moment after it")
    return window


def last_hours(hours: float, now: datetime) -> Window:
    """The stretch that ends now. Raises ReportError unless it is a positive number of hours, at most ten years."""
    if not 0 < hours <= 87_600:
        raise ReportError(f"--last-hours {hours:g}: expected more than 0 and at most 87600")
    return Window(now - timedelta(hours=hours), now)


def moment(text: str) -> datetime:
    """An ISO date or time in UTC. Raises ReportError."""
    try:
        parsed = datetime.fromisoformat(text)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ReportError(f"'{text}': expected a date or a time such as 2026-01-31 or 2026-01-31T12:00:00Z") from None


def days(first: datetime, now: datetime) -> Iterator[Window]:
    """The whole UTC days from that of `first` to yesterday, oldest first."""
    start = datetime.combine(first.astimezone(UTC).date(), time(), UTC)
    while start + DAY <= now:
        yield Window(start, start + DAY)
        start += DAY


def compact(when: datetime) -> str:
    """A time as a path may hold it, with as many digits as it needs: 20260131T120000Z."""
    utc = when.astimezone(UTC)
    return utc.strftime("%Y%m%dT%H%M%S") + (f".{utc.microsecond:06d}" if utc.microsecond else "") + "Z"


def readable(when: datetime) -> str:
    """A time as a page shows it: 31 Jan 2026, 12:00 UTC."""
    utc = when.astimezone(UTC)
    clock = utc.strftime("%H:%M:%S" if utc.second else "%H:%M")
    return f"{_day(utc)}, {clock} UTC"


def _day(utc: datetime) -> str:
    return f"{utc.day} {utc.strftime('%b %Y')}"
