"""What the watch knows, as one JSON-like document: the page, the terminal and /status.json all show this."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from monitoring.gauges import current_reason, current_state
from monitoring.judged import Judged
from monitoring.truth import RunTruth
from monitoring.watch import RunState

HISTORY_WINDOWS = 40


def status_document(
    runs: Iterable[RunState],
    now: datetime,
    pages: Mapping[tuple[str, str], str] | None = None,
    truths: Mapping[tuple[str, str], RunTruth] | None = None,
) -> dict[str, Any]:
    """Runs with the newest window first, retired ones last; each with its state, what rings, its columns and their
    history. `badge` is the one word on it: `retired`, `alarm` or its state.

    `pages` names the file of Evidently's newest page of a run, `truths` holds what its labels say.
    """
    described = []
    for run in sorted(runs, key=lambda run: (not run.retired, _end(run)), reverse=True):
        key = (run.contract, run.model_run_id)
        page, truth = (pages or {}).get(key), (truths or {}).get(key)
        word = badge(run, concept_drift=truth is not None and truth.concept is not None)
        described.append(_run(run) | {"badge": word, "evidently": page, "performance": _performance(run.latest, truth)})
    return {"at": now.isoformat(timespec="seconds"), "runs": described}


def badge(run: RunState, concept_drift: bool = False) -> str:
    """The one word on a run: that it serves no more, that something rings, or else its state."""
    if run.retired:
        return "retired"
    return "alarm" if run.book.ringing or concept_drift else current_state(run)


def _end(run: RunState) -> str:
    return run.latest.window.end.isoformat() if run.latest else ""


def _run(run: RunState) -> dict[str, Any]:
    recent = run.recent[-HISTORY_WINDOWS:]
    return {
        "contract": run.contract,
        "model_run_id": run.model_run_id,
        "state": current_state(run),
        "reason": current_reason(run),
        "open": run.still_open,
        "alarms": [alarm.to_document() for alarm in run.book.ringing],
        "window": _window(run.latest) if run.latest else None,
        "columns": _columns(run.latest, recent) if run.latest else [],
        "history": [_window(judged) for judged in recent],
    }


def _performance(latest: Judged | None, truth: RunTruth | None) -> dict[str, Any]:
    concept = truth.concept if truth else None
    return {
        "estimated": latest.estimated.to_json() if latest and latest.estimated else None,
        "realised": truth.performance.to_json() | {"key": truth.newest.window.key} if truth else None,
        "concept_drift": asdict(concept) if concept else None,
        "joint": latest.joint.to_json() | {"told": latest.joint.told} if latest and latest.joint else None,
    }


def _window(judged: Judged) -> dict[str, Any]:
    return {
        "key": judged.window.key,
        "start": judged.window.start.isoformat(),
        "end": judged.window.end.isoformat(),
        "rows": judged.verdict.rows,
        "routes": dict(judged.routes),
        "state": judged.verdict.state,
        "reason": judged.verdict.reason,
        "drifted": list(judged.verdict.drifted),
        "quality": [f"{problem.column}: {problem.reason}" for problem in judged.quality],
    }


def _columns(latest: Judged, recent: list[Judged]) -> list[dict[str, Any]]:
    """The newest window's columns, the most suspicious first, each with its effect in the windows before."""
    effects: dict[str, list[float | None]] = {}
    for judged in recent:
        found = {column.column: round(column.effect, 4) for column in judged.verdict.columns}
        for column in latest.verdict.columns:
            effects.setdefault(column.column, []).append(found.get(column.column))
    problems = {problem.column: problem.reason for problem in latest.quality}
    rows = [
        {
            "column": column.column,
            "kind": column.kind,
            "drifted": column.drifted,
            "problem": problems.get(column.column, ""),
            "reason": column.reason,
            "method": column.method,
            "adjusted_p_value": column.adjusted_p_value,
            "effect": column.effect,
            "psi": column.psi,
            "missing_share": column.missing_share,
            "importance": latest.importance.get(column.column),
            "effects": effects[column.column],
        }
        for column in latest.verdict.columns
    ]
    return sorted(rows, key=lambda row: (not row["problem"], not row["drifted"], row["adjusted_p_value"]))
