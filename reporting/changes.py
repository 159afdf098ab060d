"""What changed since the last report, in sentences: only differences that sampling alone would hardly bring."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import timedelta

from reporting.charts import percent
from reporting.document import Report

SIGNIFICANT = 3.0
"""Standard errors beyond which a share has moved."""
SMALLEST_SHARE_MOVE = 0.01


def changes(report: Report, previous: Report | None, other_run: Report | None) -> list[str]:
    """`previous` is the same run's last report before this window; `other_run` the contract's last, of another run."""
    if previous is None:
        first = "This is the first report on this run."
        if other_run is None:
            return [first]
        return [f"The model changed: before, run {other_run.model_run_id[:12]} answered. {first}"]
    sentences = [
        *_state(report, previous),
        *_traffic(report, previous),
        *_answers(report, previous),
        *_drift(report, previous),
        *_missing(report, previous),
    ]
    return sentences or ["Nothing beyond what chance brings."]


def _state(report: Report, previous: Report) -> Iterable[str]:
    if report.state != previous.state:
        yield f"The state went from {previous.state} to {report.state}."
    if report.bundle_digest and previous.bundle_digest and report.bundle_digest != previous.bundle_digest:
        yield "The bundle under this run id is another one: its digest changed."
    gone = set(previous.figures.routes) - set(report.figures.routes)
    if report.figures.rows and gone:
        yield f"No predictions came by {_listed(sorted(gone))} any more."


def _traffic(report: Report, previous: Report) -> Iterable[str]:
    now, before = (each.figures.rows / _hours(each.end - each.start) for each in (report, previous))
    if before == 0 and now == 0:
        return
    if before == 0:
        yield f"Predictions came again: {report.figures.rows:,} in this window."
    elif abs(now / before - 1) >= 0.1:
        word = "more" if now > before else "fewer"
        yield f"{100 * abs(now / before - 1):.0f} % {word} predictions an hour: {_rate(now)}, was {_rate(before)}."


def _answers(report: Report, previous: Report) -> Iterable[str]:
    now, before = report.figures, previous.figures
    if not now.rows or not before.rows:
        return
    if now.thresholds[:1] != before.thresholds[:1]:
        yield f"The threshold is {now.thresholds[0]:.3g}, was {before.thresholds[0]:.3g}."
    if moved(now.flagged / now.rows, now.rows, before.flagged / before.rows, before.rows):
        yield (
            f"Answered “will leave”: {percent(now.flagged / now.rows)} of customers, "
            f"was {percent(before.flagged / before.rows)}."
        )


def _drift(report: Report, previous: Report) -> Iterable[str]:
    now, before = report.drifted, previous.drifted
    judged = report.state == "ok"
    groups = (
        ("Newly drifted", [name for name in now if name not in before]),
        ("Still drifted", [name for name in now if name in before]),
        ("Back to the reference", [name for name in before if name not in now] if judged else []),
    )
    for words, names in groups:
        if names:
            yield f"{words}: {_listed(names)}."


def _missing(report: Report, previous: Report) -> Iterable[str]:
    earlier = {column.name: column.missing_window for column in previous.columns}
    for column in report.columns:
        before = earlier.get(column.name)
        if before is None or abs(column.missing_window - before) < SMALLEST_SHARE_MOVE:
            continue
        if moved(column.missing_window, report.figures.rows, before, previous.figures.rows):
            yield f"Missing {column.name}: {percent(column.missing_window)}, was {percent(before)}."


def moved(now: float, rows: int, before: float, rows_before: int) -> bool:
    """Do two shares differ by more than sampling brings? The pooled two-proportion z-test at SIGNIFICANT."""
    if not rows or not rows_before:
        return False
    pooled = (now * rows + before * rows_before) / (rows + rows_before)
    error = math.sqrt(pooled * (1.0 - pooled) * (1.0 / rows + 1.0 / rows_before))
    return error > 0 and abs(now - before) / error > SIGNIFICANT


def _hours(span: timedelta) -> float:
    return span.total_seconds() / 3600.0


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def _listed(names: Sequence[str], most: int = 8) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
