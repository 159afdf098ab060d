"""The watch: judge each closed window once, keep its verdict, know what rings.

All it knows is in the store: which windows were judged is where it continues after a restart or kill -9, and the
alarms are a function of the verdicts. Judging a window again gives the same verdict, and the first one written stays.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

import numpy as np
import structlog

from churn.contract import Contract, Decision
from churn.drift import WindowVerdict, broken, judge
from churn.encoder import Cleaned, Encoder
from churn.errors import BundleRefused, InvalidInput, RegistryUnavailable, RunNotFound
from churn.histogram import Histograms, Profile
from churn.joint_drift import Matrix
from churn.performance import Performance, estimated
from churn.prediction import Prediction, as_asked
from churn.quality import find_problems
from churn.store import PredictionStore
from monitoring.alarms import ALARM_KIND, Alarm, AlarmBook, AlarmPolicy, replay
from monitoring.judged import VERDICT_KIND, Judged
from monitoring.reference import Reference
from monitoring.windows import Position, Window, WindowRule, series_prefix

log = structlog.get_logger()

BATCH_ROWS = 1_000
MOST_JOINT_ROWS = 20_000
"""Of an hour's rows: more would hold up the watch, and see nothing that a reference of some thousands does not blur."""
CLOCK_SECONDS = 60.0
"""A window that ends so much after now was judged by, or filled from, a clock that has jumped."""
RESTATED_WINDOWS = 24
"""Newest windows of a run in which late records are looked for."""
JOINT_TOLERANCE = 0.1
"""A look may come so much of its interval early: windows of an hour close by the hour, but polls do not."""
REMEMBERED_WINDOWS = 200
"""Verdicts read again at a start, to know what rings."""

LoadReference = Callable[[str, str], Reference]
"""(contract, model_run_id) -> what its windows are compared with. Raises as churn.model_cache.open_model does."""


@dataclass(frozen=True, slots=True)
class WatchRules:
    """What a verdict depends on beside the data."""

    budget: float = 0.01
    minimum_rows: int = 100
    alarms: AlarmPolicy = field(default_factory=AlarmPolicy)
    stale_seconds: float = 3600.0
    joint_seconds: float = 3600.0


@dataclass(slots=True)
class RunState:
    """One contract and run as the watch sees it now. `pending` says why its next window waits to be judged, `retired`
    why it counts as one that serves no more: then nothing of it rings."""

    contract: str
    model_run_id: str
    book: AlarmBook
    latest: Judged | None = None
    pending: str = ""
    stale: str = ""
    retired: str = ""
    still_open: str = ""
    recent: list[Judged] = field(default_factory=list)
    turn: int = 0


class Watch:
    """Judges one store's windows by one rule. Not thread-safe; two watches on one store do no harm."""

    def __init__(
        self,
        store: PredictionStore,
        rule: WindowRule,
        rules: WatchRules,
        load_reference: LoadReference,
        now: Callable[[], datetime],
    ) -> None:
        self.runs: dict[tuple[str, str], RunState] = {}
        self.store = store
        self._rule = rule
        self._rules = rules
        self._load_reference = load_reference
        self._now = now
        self._references: dict[tuple[str, str], Reference] = {}
        self._out_of_reach: set[tuple[str, str]] = set()

    def poll(self) -> list[Judged]:
        """Judge every window that has closed since; returns them in order. Raises StoreUnavailable."""
        judged = []
        for contract, run in self.store.runs():
            state = self._state(contract, run)
            judged += list(self._judge_closed(state))
            self._restate_one(state)
            self._look_at_clock(state)
            state.still_open = self._rule.still_open(self.store, contract, run, state.latest, self._now())
        for alarm in self._look_for_silence():
            self.store.put_document(ALARM_KIND, alarm.key, alarm.to_document(), replace=True)
            _log_alarm(alarm)
        return judged

    def remember(self) -> None:
        """Learn from the store what was judged so far, without judging. Raises StoreUnavailable."""
        for contract, run in self.store.runs():
            state = self._state(contract, run)
            state.still_open = self._rule.still_open(self.store, contract, run, state.latest, self._now())
        self._look_for_silence()

    def profile(self, window: Window) -> Profile | None:
        """The reference's counts that a window was compared with, if its bundle is at hand."""
        reference = self._references.get((window.contract, window.model_run_id))
        return reference.profile if reference else None

    def decision(self, contract: str, run: str) -> Decision | None:
        """What a decision of that run is worth; None while its bundle cannot be had, which is tried once."""
        reference = self._reference_if_any(contract, run)
        return reference.decision if reference else None

    def contract(self, name: str) -> Contract | None:
        """A contract as its newest run has it whose bundle can be had; None while there is none."""
        runs = (state for state in self.runs.values() if state.contract == name)
        for state in sorted(runs, key=lambda state: _end(state.latest), reverse=True):
            reference = self._reference_if_any(name, state.model_run_id)
            if reference is not None and reference.encoder is not None:
                return reference.encoder.contract
        return None

    def profiles(self) -> dict[tuple[str, str], Profile]:
        """The reference's counts of every run at hand."""
        return {key: reference.profile for key, reference in self._references.items()}

    def _judge_closed(self, state: RunState) -> Iterator[Judged]:
        state.pending = ""
        while window := self._next(state):
            try:
                judged = self._judge(window)
            except RegistryUnavailable as error:
                state.pending = str(error)
                log.warning("window_waits", window=window.key, reason=state.pending)
                return
            if not self.store.put_document(VERDICT_KIND, window.key, judged.to_document()):
                judged = self._kept(window) or judged  # another watch was first: its verdict counts
            self._take(state, judged)
            yield judged

    def _next(self, state: RunState) -> Window | None:
        return self._rule.next_closed(self.store, state.contract, state.model_run_id, state.latest, self._now())

    def _judge(self, window: Window) -> Judged:
        try:
            reference = self._reference(window.contract, window.model_run_id)
        except (RunNotFound, BundleRefused) as error:
            return self._without_reference(window, str(error))
        counted = count(window, window.read(self.store), reference.profile.empty())
        previous = self.runs[window.contract, window.model_run_id].latest
        histograms = counted.histograms
        assert histograms is not None  # noqa: S101  # as given
        verdict = judge(reference.profile, histograms, self._rules.budget, self._rules.minimum_rows)
        judged = counted.judged(verdict, self._now())
        if verdict.state != "ok":
            return replace(judged, bundle_digest=reference.digest)
        problems = find_problems(reference.profile, histograms, self._rules.budget)
        return replace(
            judged,
            bundle_digest=reference.digest,
            quality=problems,
            importance=reference.importance,
            estimated=counted.estimated(reference),
            **self._joint(window, reference, previous, columns_moved=bool(problems or verdict.drifted)),
        )

    def _joint(
        self, window: Window, reference: Reference, previous: Judged | None, columns_moved: bool
    ) -> dict[str, Any]:
        """Ask at most every so many seconds whether features go together as they did; else what was said last.

        All rows since the last time are looked at, as far as no column moved in their windows: in this one it has
        not, or what is said would only be what the columns say.
        """
        now, asked_at = self._now(), previous.joint_at if previous else None
        soon = (1 - JOINT_TOLERANCE) * self._rules.joint_seconds
        asked_lately = asked_at is not None and (now - asked_at).total_seconds() < soon
        if columns_moved or asked_lately or not self._rules.joint_seconds:
            return {"joint": previous.joint, "joint_at": asked_at} if previous else {}
        if reference.joint is None or reference.encoder is None:
            return {}
        rows = self._encoded(window, self._quiet_since(window), reference.encoder)
        return {"joint": reference.joint.find_drift(rows), "joint_at": now}

    def _quiet_since(self, window: Window) -> datetime:
        """Where the windows in a row begin in which no column moved, this one the last, at most an interval ago."""
        earliest, start = window.end - timedelta(seconds=self._rules.joint_seconds), window.start
        for judged in reversed(self.runs[window.contract, window.model_run_id].recent):
            before = judged.window
            quiet = judged.verdict.state == "ok" and not judged.verdict.drifted and not judged.quality
            if before.number >= window.number:
                continue  # this window is judged once more, for records that came late
            if not quiet or before.start < earliest:
                break
            start = before.start
        return start

    def _encoded(self, window: Window, since: datetime, encoder: Encoder) -> Matrix:
        """The run's rows since then, to the window's end, or so many of them; batch by batch, for they are large."""
        found = iter(self.store.window(window.contract, window.model_run_id, since, window.end, sample=MOST_JOINT_ROWS))
        batches = [encoder.matrix([])]
        while batch := list(islice(found, BATCH_ROWS)):
            batches.append(encoder.matrix([cleaned for p in batch if (cleaned := _cleaned(encoder, p)) is not None]))
        return np.concatenate(batches)

    def _without_reference(self, window: Window, reason: str) -> Judged:
        counted = count(window, window.read(self.store), None)
        return counted.judged(broken(reason, counted.rows, self._rules.budget), self._now())

    def _restate_one(self, state: RunState) -> None:
        """Look whether records of one recent window came late, another window each poll; judge it again if so.

        Its verdict is replaced; what rang stays as it was, since the pager has been told.
        """
        candidates = state.recent[-RESTATED_WINDOWS:]
        if not self._rule.restates or not candidates or state.pending:
            return
        state.turn = (state.turn + 1) % len(candidates)
        old = candidates[state.turn]
        window = old.window
        rows = self.store.count(window.contract, window.model_run_id, window.start, window.end)
        if rows <= old.verdict.rows:
            return
        try:
            judged = replace(self._judge(window), joint=old.joint, joint_at=old.joint_at)
        except RegistryUnavailable:
            return  # a later poll will see the same
        self.store.put_document(VERDICT_KIND, window.key, judged.to_document(), replace=True)
        state.recent[state.recent.index(old)] = judged
        if state.latest is old:
            state.latest = judged
        log.info("window_restated", window=window.key, rows_before=old.verdict.rows, rows=judged.verdict.rows)

    def _take(self, state: RunState, judged: Judged) -> None:
        state.latest = judged
        state.recent = [*state.recent, judged][-REMEMBERED_WINDOWS:]
        for alarm in state.book.observe(judged):
            self.store.put_document(ALARM_KIND, alarm.key, alarm.to_document(), replace=True)
            _log_alarm(alarm)
        window, verdict = judged.window, judged.verdict
        log.info(
            "window_judged", window=window.key, state=verdict.state, rows=verdict.rows, drifted=list(verdict.drifted)
        )

    def _kept(self, window: Window) -> Judged | None:
        document = self.store.document(VERDICT_KIND, window.key)
        return Judged.from_document(document) if document else None

    def _state(self, contract: str, run: str) -> RunState:
        if (contract, run) not in self.runs:
            prefix = series_prefix(contract, run, self._rule.series)
            documents = self.store.documents(VERDICT_KIND, prefix, newest_first=True, limit=REMEMBERED_WINDOWS)
            past = [Judged.from_document(document) for document in reversed(documents)]
            book = replay(past, self._rules.alarms)
            latest = past[-1] if past else None
            self.runs[contract, run] = RunState(contract, run, book, latest, recent=past)
        return self.runs[contract, run]

    def _reference(self, contract: str, run: str) -> Reference:
        if (contract, run) not in self._references:
            self._references[contract, run] = self._load_reference(contract, run)
        return self._references[contract, run]

    def _reference_if_any(self, contract: str, run: str) -> Reference | None:
        """None while the bundle cannot be had, which is tried once; a window to be judged tries again."""
        key = (contract, run)
        if key not in self._references and key not in self._out_of_reach:
            try:
                self._reference(contract, run)
            except (RunNotFound, BundleRefused, RegistryUnavailable) as error:
                self._out_of_reach.add(key)
                log.warning("bundle_out_of_reach", contract=contract, model_run_id=run, reason=str(error))
        return self._references.get(key)

    def _look_at_clock(self, state: RunState) -> None:
        """Until the clock is past the newest window again, no window can close: say so, rather than be quiet."""
        end, now = state.latest.window.end if state.latest else self._now(), self._now()
        if (end - now).total_seconds() > CLOCK_SECONDS:
            state.pending = (
                f"the newest window ends at {end:%H:%M:%S} UTC, after now, {now:%H:%M:%S}: a clock has jumped"
            )

    def _look_for_silence(self) -> list[Alarm]:
        """A contract whose newest run has had no prediction for too long is stale. A run that is silent while another
        answers, or was the newest after it, is retired; the alarms that end with it are returned."""
        now, ended = self._now(), []
        since, minutes = now - timedelta(seconds=self._rules.stale_seconds), self._rules.stale_seconds / 60
        heard = set(self.store.runs(since, now + timedelta(days=365)))
        answered = {contract for contract, _ in heard}
        for state in self.runs.values():
            newest = max((s for s in self.runs.values() if s.contract == state.contract), key=lambda s: _end(s.latest))
            silent = (state.contract, state.model_run_id) not in heard
            gone = silent and (state is not newest or state.contract in answered)
            state.stale = f"no predictions for {minutes:g} minutes" if silent and not gone else ""
            state.retired = (
                f"serves no more: no predictions for {minutes:g} minutes, another run answers" if gone else ""
            )
            if gone and state.latest is not None:
                # A time that is the same after a restart, when the book is read from the verdicts once more.
                ended += state.book.close(state.latest.window.end + timedelta(seconds=self._rules.stale_seconds))
        return ended


@dataclass(slots=True)
class Counted:
    """A window's predictions, counted in one pass."""

    window: Window
    histograms: Histograms | None
    rows: int = 0
    routes: Counter[str] = field(default_factory=Counter)
    last: Position | None = None
    scores: array[float] = field(default_factory=lambda: array("d"))
    flagged: bytearray = field(default_factory=bytearray)

    def estimated(self, reference: Reference) -> Performance | None:
        """The performance to expect of these rows; None where the reference has no labels to learn it from."""
        if reference.recalibration is None:
            return None
        scores, flagged = np.array(self.scores), np.frombuffer(self.flagged, dtype=np.bool_)
        finite = np.isfinite(scores)
        return estimated(scores[finite], flagged[finite], reference.recalibration, reference.decision)

    def judged(self, verdict: WindowVerdict, judged_at: datetime) -> Judged:
        histograms = self.histograms.to_json() if self.histograms is not None else None
        return Judged(self.window, self.last, judged_at, None, verdict, routes=dict(self.routes), histograms=histograms)


def count(window: Window, predictions: Iterable[Prediction], histograms: Histograms | None) -> Counted:
    """Count predictions that are in the log's order, in batches; `histograms` may be None where no bundle says how."""
    counted = Counted(window, histograms)
    remaining = iter(predictions)
    while batch := list(islice(remaining, BATCH_ROWS)):
        if histograms is not None:
            histograms.update(batch)
        counted.rows += len(batch)
        counted.routes.update(prediction.route for prediction in batch)
        counted.scores.extend(prediction.churn_probability for prediction in batch)
        counted.flagged.extend(prediction.churn for prediction in batch)
        counted.last = Position(batch[-1].created_at, batch[-1].prediction_id)
    return counted


def _cleaned(encoder: Encoder, prediction: Prediction) -> Cleaned | None:
    try:
        return encoder.clean(as_asked(prediction))
    except InvalidInput:  # counted as invalid already
        return None


def _end(judged: Judged | None) -> float:
    return judged.window.end.timestamp() if judged else 0.0


def _log_alarm(alarm: Alarm) -> None:
    event = "alarm_closed" if alarm.closed_at else "alarm"
    log.warning(
        event, contract=alarm.contract, model_run_id=alarm.model_run_id, cause=alarm.cause.name, windows=alarm.windows
    )
