"""Evidently's opinion on a judged window: a job in a process of its own, seldom, and never in the way of the watch.

The job (`python -m monitoring evidently KEY`) reads a bounded sample of the window, writes Evidently's page into a
folder and its scores into the store. The watch starts one at a time, at most every so many seconds a run, or at once
for a window that opened an alarm; what came back is read from the store, also after a restart.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from churn.errors import WatchError
from churn.prediction import Prediction
from churn.store import PredictionStore
from monitoring.gauges import Series
from monitoring.judged import VERDICT_KIND, Judged
from monitoring.watch import RunState

if TYPE_CHECKING:
    import pandas

    from churn.bundle import Bundle
    from churn.contract import Contract

log = structlog.get_logger()

OPINION_KIND = "evidently"
PATIENCE_SECONDS = 300.0
"""A job that is not done by then is ended."""
KEPT_PAGES = 50
Run = tuple[str, str]
Start = Callable[[str], "subprocess.Popen[bytes]"]
"""The key of a judged window -> the started job."""


class SecondOpinions:
    """Starts jobs and knows their results. Not thread-safe; `close` ends a job that still runs."""

    def __init__(
        self, store: PredictionStore, interval_seconds: float, now: Callable[[], datetime], start: Start
    ) -> None:
        self._store = store
        self._interval_seconds = interval_seconds
        self._now = now
        self._start = start
        self._asked_at: dict[Run, datetime] = {}
        self._waiting: dict[Run, Judged] = {}
        self._job: tuple[str, subprocess.Popen[bytes], datetime] | None = None

    def consider(self, runs: Iterable[RunState], judged: Sequence[Judged]) -> None:
        """Take note of newly judged windows, end or collect the running job, start the next one."""
        opened = {alarm.opened_by for run in runs for alarm in run.book.ringing}
        for window in judged:
            run, rings = (window.window.contract, window.window.model_run_id), window.window.key in opened
            waiting = self._waiting.get(run)
            outranked = waiting is not None and waiting.window.key in opened and not rings
            if window.verdict.state == "ok" and (rings or self._is_due(run)) and not outranked:
                self._waiting[run] = window
        self._look_after_job()
        if self._job is None and self._waiting:
            run, window = self._waiting.popitem()
            self._asked_at[run] = self._now()
            self._job = (window.window.key, self._start(window.window.key), self._now())

    def scores(self, runs: Iterable[RunState]) -> Series:
        """Evidently's newest scores of each run, as series of churnwatch_feature_drift_score."""
        series: Series = {}
        for run, opinion in self._newest(runs):
            for score in opinion["scores"]:
                series[*run, score["column"], f"evidently:{score['method']}"] = score["score"]
        return series

    def pages(self, runs: Iterable[RunState]) -> dict[Run, str]:
        """The file name of Evidently's newest page of each run that has one."""
        return {run: str(opinion["page"]) for run, opinion in self._newest(runs) if opinion["page"]}

    def close(self) -> None:
        """End the running job, if any."""
        if self._job is not None:
            self._job[1].kill()
            self._job[1].wait()
            self._job = None

    def _newest(self, runs: Iterable[RunState]) -> Iterator[tuple[Run, dict[str, Any]]]:
        for run in runs:
            found = self._store.documents(OPINION_KIND, f"{run.contract}/{run.model_run_id}/", limit=1)
            if found:
                yield (run.contract, run.model_run_id), found[0]

    def _is_due(self, run: Run) -> bool:
        asked_at = self._asked_at.get(run)
        return asked_at is None or (self._now() - asked_at).total_seconds() >= self._interval_seconds

    def _look_after_job(self) -> None:
        if self._job is None:
            return
        key, process, started_at = self._job
        code = process.poll()
        if code is None and (self._now() - started_at).total_seconds() < PATIENCE_SECONDS:
            return
        if code != 0:
            log.warning("second_opinion_failed", window=key, code=code)
        self.close()


def start_job(key: str) -> subprocess.Popen[bytes]:
    """The job as a process with our environment; what it says goes where our log goes."""
    return subprocess.Popen([sys.executable, "-m", "monitoring", "evidently", key], stdin=subprocess.DEVNULL)


def ask(store: PredictionStore, key: str, load: Callable[[str, str], Bundle], folder: Path, rows: int) -> Path | None:
    """The job itself: returns the page, None when Evidently had no column to compare. Raises WatchError."""
    from churn.evidently_report import evidently_report

    document = store.document(VERDICT_KIND, key)
    if document is None:
        raise WatchError(f"no window {key} was judged; `python -m monitoring status --json` lists keys")
    window = Judged.from_document(document).window
    bundle = load(window.contract, window.model_run_id)
    sample = store.window(window.contract, window.model_run_id, window.start, window.end, sample=rows)
    frame = frame_of(bundle.contract, sample)
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / f"{key.replace('/', '-')}.html"
    result = evidently_report(bundle.contract, bundle.reference(), frame, page, maximum_rows=rows)
    made = page if result.html is not None else None
    opinion = {
        "key": key,
        "page": made.name if made else None,
        "rows": result.window_rows,
        "scores": [asdict(score) for score in result.scores],
        "skipped": [asdict(column) for column in result.skipped],
    }
    store.put_document(OPINION_KIND, key, opinion, replace=True)
    for old in sorted(folder.glob("*.html"), key=lambda path: path.stat().st_mtime)[:-KEPT_PAGES]:
        old.unlink(missing_ok=True)
    return made


def frame_of(contract: Contract, predictions: Iterable[Prediction]) -> pandas.DataFrame:
    """Features and answers as the reference's rows have them."""
    import pandas

    from churn.histogram import CLASS, SCORE

    rows = [(p.features, p.churn_probability, p.churn) for p in predictions]
    columns = {name: [features.get(name) for features, _, _ in rows] for name in contract.feature_names}
    columns |= {SCORE: [score for _, score, _ in rows], CLASS: [flagged for _, _, flagged in rows]}
    return pandas.DataFrame(columns)
