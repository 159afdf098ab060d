"""When the pager rings: one alarm a cause, after k of n windows, until k quiet ones in a row, then not at once again.

A cause is what an engineer would mend: a column's nulls, a column's drift, a broken run. What follows from another
cause rings no bell of its own: the drift of a column whose quality failed, the drift of the score while one of the
features it is made from drifts, and a change of the joint distribution while a column drifts. Windows that could not
be judged for want of rows neither ring nor quieten. A column that fails now this check and now that one, for k of n
windows, rings by the last: a shift at the edge of the reference's range is out of range and drift by turns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from churn.drift import ColumnVerdict
from monitoring.judged import Judged

Severity = Literal["page", "ticket"]
PAGE_EFFECT = 0.1
"""An effect (Jensen-Shannon distance) from which drift pages: about a quarter of a standard deviation."""
PAGE_IMPORTANCE = 0.15
"""A feature with such a share in the model's decisions pages at any effect."""
ALARM_KIND = "alarm"


@dataclass(frozen=True, slots=True)
class Cause:
    """What is wrong with a window, and how badly. `name` is its identity from window to window."""

    name: str
    column: str
    check: str
    severity: Severity
    summary: str


@dataclass(frozen=True, slots=True)
class Alarm:
    """A cause that lasted. `opened_at` and `closed_at` are ends of windows; `closed_at` is None while it rings."""

    contract: str
    model_run_id: str
    cause: Cause
    opened_at: datetime
    opened_by: str
    windows: int
    closed_at: datetime | None = None

    @property
    def key(self) -> str:
        return f"{self.contract}/{self.model_run_id}/{self.opened_at.isoformat()}/{self.cause.name}"

    def to_document(self) -> dict[str, Any]:
        return {
            "key": self.key,
            "contract": self.contract,
            "model_run_id": self.model_run_id,
            "cause": self.cause.name,
            "column": self.cause.column,
            "check": self.cause.check,
            "severity": self.cause.severity,
            "summary": self.cause.summary,
            "opened_at": self.opened_at.isoformat(),
            "opened_by": self.opened_by,
            "windows": self.windows,
            "closed_at": self.closed_at.isoformat() if self.closed_at else None,
        }


@dataclass(frozen=True, slots=True)
class AlarmPolicy:
    """An alarm opens when `windows` of the last `of_windows` have its cause, and closes after `windows` in a row
    without it; for `cooldown_windows` after that it does not open again."""

    windows: int = 2
    of_windows: int = 2
    cooldown_windows: int = 0


@dataclass(slots=True)
class _Watched:
    """A cause seen lately: in which of the last windows, its alarm if it rings, and windows left to cool down."""

    seen: deque[bool]
    bad: int = 0
    quiet: int = 0
    cooling: int = 0
    alarm: Alarm | None = None


class AlarmBook:
    """The alarms of one contract and run. Fed with its judged windows in order; the same windows give the same book."""

    def __init__(self, policy: AlarmPolicy) -> None:
        self._policy = policy
        self._watched: dict[str, _Watched] = {}
        self._columns: dict[str, deque[bool]] = {}

    @property
    def ringing(self) -> list[Alarm]:
        """Open alarms, oldest first."""
        alarms = [watched.alarm for watched in self._watched.values() if watched.alarm]
        return sorted(alarms, key=lambda alarm: (alarm.opened_at, alarm.cause.name))

    def observe(self, judged: Judged) -> list[Alarm]:
        """Take the next window; returns the alarms that it opened, prolonged or closed."""
        if judged.verdict.state == "insufficient":
            return []
        causes = find_causes(judged)
        self._see_columns({cause.column for cause in causes.values() if cause.column})
        changed = []
        for name in sorted(self._watched.keys() | causes.keys()):
            watched = self._watched.get(name) or _Watched(deque(maxlen=self._policy.of_windows))
            self._watched[name] = watched
            alarm = self._step(judged, watched, causes.get(name))
            if alarm is not None:
                changed.append(alarm)
        self._watched = {name: w for name, w in self._watched.items() if any(w.seen) or w.alarm or w.cooling}
        return changed

    def close(self, at: datetime) -> list[Alarm]:
        """End every alarm: the run serves no more. Should it come back, its causes begin anew."""
        closed = [replace(alarm, closed_at=at) for alarm in self.ringing]
        self._watched.clear()
        self._columns.clear()
        return closed

    def _step(self, judged: Judged, watched: _Watched, cause: Cause | None) -> Alarm | None:
        watched.seen.append(cause is not None)
        watched.cooling = max(0, watched.cooling - 1)
        if cause is not None:
            watched.bad, watched.quiet = watched.bad + 1, 0
            if watched.alarm is not None:
                worst: Severity = "page" if "page" in (cause.severity, watched.alarm.cause.severity) else "ticket"
                cause = replace(cause, severity=worst)
                watched.alarm = replace(watched.alarm, cause=cause, windows=watched.bad)
            elif self._opens(watched, cause) or judged.verdict.state == "broken":
                window = judged.window
                watched.alarm = Alarm(window.contract, window.model_run_id, cause, window.end, window.key, watched.bad)
            return watched.alarm
        watched.quiet += 1
        if watched.alarm is None or watched.quiet < self._policy.windows:
            watched.bad = watched.bad if watched.alarm or any(watched.seen) else 0
            return None
        closed = replace(watched.alarm, closed_at=judged.window.end)
        watched.bad, watched.alarm, watched.cooling = 0, None, self._policy.cooldown_windows
        watched.seen.clear()
        self._columns.pop(closed.cause.column, None)
        return closed

    def _opens(self, watched: _Watched, cause: Cause) -> bool:
        lasts = sum(watched.seen) >= self._policy.windows or self._lasts_by_turns(cause.column)
        return lasts and not watched.cooling

    def _see_columns(self, failing: set[str]) -> None:
        for column in self._columns.keys() | failing:
            seen = self._columns.setdefault(column, deque(maxlen=self._policy.of_windows))
            seen.append(column in failing)
        self._columns = {column: seen for column, seen in self._columns.items() if any(seen)}

    def _lasts_by_turns(self, column: str) -> bool:
        """Whether a column that has no alarm yet failed in enough windows, by whichever check."""
        rings = any(other.alarm and other.alarm.cause.column == column for other in self._watched.values())
        return not rings and sum(self._columns.get(column, ())) >= self._policy.windows


def replay(windows: Iterable[Judged], policy: AlarmPolicy) -> AlarmBook:
    """The book after windows already judged, oldest first: how a restart knows what rings."""
    book = AlarmBook(policy)
    for judged in windows:
        book.observe(judged)
    return book


def find_causes(judged: Judged) -> dict[str, Cause]:
    """What is wrong with one window, by the cause's name."""
    verdict = judged.verdict
    if verdict.state == "broken":
        return {"broken": Cause("broken", "", "broken", "page", f"cannot be judged: {verdict.reason}")}
    causes = {}
    for problem in judged.quality:
        name = f"{problem.check}:{problem.column}"
        causes[name] = Cause(name, problem.column, problem.check, "page", f"{problem.column}: {problem.reason}")
    spoilt = {problem.column for problem in judged.quality}
    drifted = [column for column in verdict.columns if column.drifted and column.column not in spoilt]
    features_moved = bool(spoilt) or any(not _of_model(column) for column in drifted)
    for column in drifted:
        if not (_of_model(column) and features_moved):
            name = f"drift:{column.column}"
            severity = _severity(column, judged.importance)
            causes[name] = Cause(name, column.column, "drift", severity, f"{column.column} drifted: {column.reason}")
    if judged.joint is not None and judged.joint.drifted and not features_moved:
        causes["joint"] = Cause("joint", "", "joint", "page", f"features go together otherwise: {judged.joint.told}")
    return causes


def _of_model(column: ColumnVerdict) -> bool:
    return column.kind in ("score", "class")


def _severity(column: ColumnVerdict, importance: Mapping[str, float]) -> Severity:
    important = _of_model(column) or importance.get(column.column, 0.0) >= PAGE_IMPORTANCE
    return "page" if important or column.effect >= PAGE_EFFECT else "ticket"
