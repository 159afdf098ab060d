"""The status document and a verdict in a terminal, coloured where the terminal is one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from churn.drift import WindowVerdict
from churn.quality import QualityProblem
from churn.segments import Segment

BARS = "▁▂▃▄▅▆▇█"
RED, GREEN, DIM, BOLD = "31", "32", "2", "1"
SHOWN_COLUMNS = 8
SHOWN_FIGURES = ("auc", "recall", "precision")


def status_text(document: dict[str, Any], colour: bool) -> str:
    """All runs, each with what rings and its most suspicious columns."""
    if not document["runs"]:
        return "no predictions in the store yet"
    return "\n\n".join(_run(run, colour) for run in document["runs"])


def verdict_text(verdict: WindowVerdict, problems: Sequence[QualityProblem], colour: bool) -> str:
    """One verdict, its columns the most suspicious first."""
    lines = [f"{_state(verdict.state, colour)} {verdict.rows:,} rows: {verdict.reason}"]
    lines += [_paint(f"▲ {problem.column}: {problem.reason}", RED, colour) for problem in problems]
    for column in sorted(verdict.columns, key=lambda c: c.adjusted_p_value):
        line = (
            f"  {column.column:28} chance {column.adjusted_p_value:<9.2g} effect {column.effect:.3f}  {column.method}"
        )
        lines.append(_paint(line.replace("  ", "▲ ", 1), RED, colour) if column.drifted else line)
    return "\n".join(lines)


def segments_text(segments: Sequence[Segment]) -> str:
    """One line a segment: its share then and now, and how its scores changed."""
    if not segments:
        return "no segment changed"
    lines = []
    for segment in segments:
        score = "" if segment.score_change is None else f", score {segment.score_change:+.3f}"
        lines.append(
            f"{segment.reference_share:7.1%} -> {segment.share:7.1%}  {segment.rows:>7,} rows{score}  {segment.name}"
        )
    return "\n".join(lines)


def bars(values: Sequence[float | None]) -> str:
    """A sparkline of block characters; a window without a value is a blank."""
    top = max([0.1, *(value for value in values if value is not None)])
    return "".join(" " if value is None else BARS[min(len(BARS) - 1, int(value / top * len(BARS)))] for value in values)


def _run(run: dict[str, Any], colour: bool) -> str:
    title = f"{run['contract']} {run['model_run_id']}"
    judged = "" if run["badge"] in (run["state"], "retired") else "newest window: "
    lines = [_paint(title, BOLD, colour), f"  {_state(run['badge'], colour)} {judged}{run['reason']}"]
    if run["open"]:
        lines.append(_paint(f"  {run['open']}", DIM, colour))
    window = run["window"]
    if window:
        routes = ", ".join(f"{rows:,} {route}" for route, rows in sorted(window["routes"].items()))
        lines.append(f"  newest window {window['start']} to {window['end']}: {window['rows']:,} rows ({routes})")
    lines += [_paint(f"  ▲ {alarm['severity']}: {alarm['summary']}", RED, colour) for alarm in run["alarms"]]
    if not run["alarms"]:
        lines.append(_paint("  nothing rings", DIM, colour))
    lines += _performance(run["performance"], colour)
    for column in run["columns"][:SHOWN_COLUMNS]:
        bad = column["drifted"] or column["problem"]
        line = (
            f"  {'▲' if bad else ' '} {column['column']:28} chance {column['adjusted_p_value']:<9.2g} "
            f"effect {column['effect']:.3f}  {bars(column['effects'])}"
        )
        lines.append(_paint(line, RED, colour) if bad else line)
    return "\n".join(lines)


def _performance(performance: dict[str, Any], colour: bool) -> list[str]:
    lines = []
    for kind in ("estimated", "realised"):
        if found := performance[kind]:
            figures = [
                f"{name} {found['figures'][name]['value']:.3f} ({found['figures'][name]['low']:.3f} to "
                f"{found['figures'][name]['high']:.3f})"
                for name in SHOWN_FIGURES
                if name in found["figures"]
            ]
            note = f"{found['coverage']:.0%} labelled" if kind == "realised" else "blind to concept drift"
            lines.append(f"  {kind}: {', '.join(figures) or found['reason']}; {note}")
    if (joint := performance["joint"]) and joint["drifted"]:
        lines.append(_paint(f"  ▲ features go together otherwise: {joint['told']}", RED, colour))
    if concept := performance["concept_drift"]:
        rose = f"{concept['error_before']:.1%} to {concept['error_after']:.1%}"
        lines.append(_paint(f"  ▲ concept drift: wrong decisions rose from {rose}", RED, colour))
    return lines


def _state(state: str, colour: bool) -> str:
    return _paint(f"[{state}]", {"ok": GREEN, "insufficient": DIM, "retired": DIM}.get(state, RED), colour)


def _paint(text: str, code: str, colour: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if colour else text
