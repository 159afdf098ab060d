"""Which reports to make, once each: a window's, or those that were missed. The index follows every one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import msgspec
import structlog

from churn.store.interface import PredictionStore
from reporting.changes import changes
from reporting.document import NO_RUN, Report, to_json
from reporting.index import index_json, index_page
from reporting.page import summary_page
from reporting.report import LoadBundle, Rules, SecondOpinionOf, ask_evidently, build_report
from reporting.shelf import PAGE, TWIN, ReportShelf
from reporting.window import DAY, Window, days

log = structlog.get_logger()

KIND = "report"
"""Under which the store keeps what was reported; the key is CONTRACT/WINDOW/RUN."""


class Made(msgspec.Struct, frozen=True):
    """One report: where it lies, and whether it was written now or had been before."""

    contract: str
    model_run_id: str
    start: datetime
    end: datetime
    path: str
    written: bool
    state: str = ""
    rows: int = 0
    drifted: list[str] = []


@dataclass(frozen=True)
class Maker:
    """Makes reports from a store onto a shelf."""

    store: PredictionStore
    shelf: ReportShelf
    load_bundle: LoadBundle
    now: Callable[[], datetime]
    rules: Rules = field(default_factory=Rules)
    second_opinion: SecondOpinionOf | None = None

    def make(
        self, window: Window, contract: str | None = None, run: str | None = None, again: bool = False
    ) -> list[Made]:
        """A report for each contract and run with predictions in the window, unless there is one already.

        A contract or run asked for by name gets one even without predictions, which says so. `again` writes anew,
        for labels or predictions that came later. Raises StoreUnavailable or ReportError.
        """
        made = [self._one(window, *pair, again) for pair in self._pairs(window, contract, run)]
        if any(each.written for each in made) or not self.shelf.has_index():
            self.write_index()
        return made

    def catch_up(self, contract: str | None = None, most_days: int = 30) -> list[Made]:
        """The daily reports that are missing, oldest first, of at most the last so many days.

        A day without predictions gets its page when it lies between others of its contract: silence is news.
        """
        now = self.now()
        since = now - timedelta(days=most_days)
        pairs = self.store.runs(since, now)
        made = []
        for name in [contract] if contract else sorted({pair[0] for pair in pairs}):
            first = self._first(name, since, now)
            for window in days(first, now) if first else ():
                made += [self._one(window, *pair, False) for pair in self._pairs(window, name, None)]
        self.write_index()
        return made

    def write_index(self) -> None:
        """Rebuild the index from what lies on the shelf."""
        with self.shelf.workplace():  # proves that the folder is there and can be written
            reports = list(self.shelf.reports())
            self.shelf.write("index.json", index_json(reports))
            self.shelf.write(PAGE, index_page(reports).encode())

    def _pairs(self, window: Window, contract: str | None, run: str | None) -> list[tuple[str, str]]:
        found = [
            pair
            for pair in self.store.runs(window.start, window.end)
            if contract in (None, pair[0]) and run in (None, pair[1])
        ]
        if not found and contract is not None:
            return [(contract, run or NO_RUN)]
        return found

    def _first(self, contract: str, since: datetime, now: datetime) -> datetime | None:
        """When the contract's predictions begin, within a day; None when there are none."""
        day = next((window for window in days(since, now + DAY) if self._any(contract, window)), None)
        return day.start if day else None

    def _any(self, contract: str, window: Window) -> bool:
        return any(name == contract for name, _ in self.store.runs(window.start, window.end))

    def _one(self, window: Window, contract: str, run: str, again: bool) -> Made:
        path = self.shelf.path(contract, window, run)
        made = Made(contract, run, window.start, window.end, path, written=False)
        if not again and self.shelf.holds(path) and self.store.document(KIND, path) is not None:
            return made
        with self.shelf.workplace() as folder:
            report = build_report(
                contract,
                run,
                window,
                folder,
                store=self.store,
                load_bundle=self.load_bundle,
                second_opinion=self.second_opinion or ask_evidently(self.rules),
                now=self.now(),
                rules=self.rules,
            )
            report = self._with_changes(report, window)
            (folder / TWIN).write_bytes(to_json(report))
            (folder / PAGE).write_text(summary_page(report), encoding="utf-8")
            for file in folder.iterdir():
                file.chmod(0o644)
            self.shelf.publish(folder, path)
        made = msgspec.structs.replace(
            made, written=True, state=report.state, rows=report.figures.rows, drifted=report.drifted
        )
        # After the files: a crash in between makes the report again, never leaves a record of one that is not there.
        self.store.put_document(KIND, path, msgspec.to_builtins(made), replace=True)
        log.info("report_written", contract=contract, model_run_id=run, path=path, state=report.state)
        return made

    def _with_changes(self, report: Report, window: Window) -> Report:
        """The sentences on what changed, against the newest report that ended when this window began or before."""
        same: tuple[str, Report] | None = None
        other: Report | None = None
        for path, earlier in self.shelf.reports(report.contract):
            if earlier.end > window.start:
                continue
            if earlier.model_run_id == report.model_run_id:
                same = (path, earlier)
                break
            if other is None and earlier.model_run_id != NO_RUN:
                other = earlier
        return replace(
            report,
            changes=changes(report, same[1] if same else None, other),
            previous=same[0] if same else None,
        )
