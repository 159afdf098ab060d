"""The one-page summary, drawn from the report alone. Everything that came from outside is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from reporting.charts import percent
from reporting.column_sections import columns_section, drifted_section
from reporting.document import NO_RUN, Report
from reporting.performance_section import performance_section
from reporting.sections import alarms_section, answers_section, evidently_section
from reporting.style import STYLE
from reporting.window import Window, readable

TO_INDEX = "../../../index.html"
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def summary_page(report: Report) -> str:
    """A whole HTML document that fetches nothing; links lead to the files beside it."""
    body = [_head(report), "<main>", _state(report), _tiles(report)]
    body += [
        alarms_section(report),
        _changes(report),
        drifted_section(report),
        answers_section(report),
        performance_section(report),
    ]
    body += [columns_section(report), evidently_section(report), _about(report), "</main>"]
    return document(f"{report.title}, {readable(report.start)}", "".join(body), POLICY)


def document(title: str, body: str, policy: str) -> str:
    """The frame that all our pages share."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style></head><body>{body}</body></html>\n"
    )


def verdict_of(report: Report) -> tuple[str, str, str]:
    """(style, a sign readable without colour, words) for the state of a report."""
    drifted, failed = len(report.drifted), len({problem.column for problem in report.quality})
    if report.state == "ok" and (drifted or failed):
        words = [f"{drifted} {_columns(drifted)} drifted"] if drifted else []
        words += [f"{failed} {_columns(failed)} of bad quality"] if failed else []
        return "drift", "▲", ", ".join(words)
    return {
        "ok": ("fine", "✓", "Quiet: no column drifted"),
        "insufficient": ("", "…", "Too few predictions to judge"),
        "empty": ("", "○", "No predictions"),
        "broken": ("drift", "✕", "Could not be judged"),
    }[report.state]


def _columns(count: int) -> str:
    return "column" if count == 1 else "columns"


def _head(report: Report) -> str:
    run = "no predictions" if report.model_run_id == NO_RUN else f"run {report.model_run_id[:12]}"
    return (
        f'<header><p class="over">Churnwatch report'
        f' <span class="screen">· <a href="{TO_INDEX}">all reports</a></span></p>'
        f"<h1>{escape(report.title)}</h1>"
        f'<p class="sub">{escape(str(Window(report.start, report.end)))} · '
        f'<span class="mono" title="{escape(report.model_run_id)}">{escape(run)}</span></p></header>'
    )


def _state(report: Report) -> str:
    style, sign, words = verdict_of(report)
    reason = report.reason
    if report.state == "ok":
        named = list(dict.fromkeys([*report.drifted, *(problem.column for problem in report.quality)]))
        reason = ", ".join(named[:8]) if named else "Every column looks like the model's reference."
        if len(named) > 8:
            reason += f" and {len(named) - 8} more"
    return f'<section class="state {style}"><strong>{sign} {escape(words)}</strong><p>{escape(reason)}</p></section>'


def _tiles(report: Report) -> str:
    figures = report.figures
    if not figures.rows:
        return ""
    routes = ", ".join(f"{count:,} {route}" for route, count in figures.routes.items())
    tiles = [
        (f"{figures.rows:,}", "predictions", routes),
        (percent(figures.flagged / figures.rows), "answered “will leave”", f"{figures.flagged:,} customers"),
        (f"{figures.mean_probability or 0:.3f}", "mean probability", _thresholds(figures.thresholds)),
    ]
    if report.money:
        profit = f"{report.money.expected_profit:,.0f}".replace("-", "−")
        tiles.append((f"{profit} {report.money.currency}", "expected profit", "if all of them get the offer"))
    if report.realised and "auc" in report.realised.figures:
        auc = report.realised.figures["auc"].value
        tiles.append((f"{auc:.3f}", "realised AUC", f"{report.realised.rows:,} labels"))
    elif report.estimated and "auc" in report.estimated.figures:
        tiles.append((f"{report.estimated.figures['auc'].value:.3f}", "estimated AUC", "before labels come"))
    cells = [
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span><span>{escape(more)}</span></div>'
        for value, name, more in tiles
    ]
    return f'<div class="tiles">{"".join(cells)}</div>'


def _thresholds(thresholds: Sequence[float]) -> str:
    word = "threshold" if len(thresholds) == 1 else "thresholds"
    return f"{word} {', '.join(f'{threshold:.3g}' for threshold in thresholds[:3])}"


def _changes(report: Report) -> str:
    if not report.changes:
        return ""
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in report.changes)
    link = (
        f'<p class="note screen"><a href="../../../{escape(report.previous)}/index.html">The report before</a></p>'
        if report.previous
        else ""
    )
    return f'<section><h2>What changed since the last report</h2><ul class="plain">{items}</ul>{link}</section>'


def _about(report: Report) -> str:
    budget = percent(report.budget) if report.budget is not None else "–"
    facts = [
        ("Judged by", f"the watch's own tests; at most {budget} of quiet windows raise any column, at any size"),
        ("Chance", "how often a quiet window would differ as much, corrected over all columns"),
        ("Effect", "Jensen-Shannon distance beyond what sampling brings: 0 is the same, 1 has nothing in common"),
        ("Outside", "rows beyond the smallest and the largest value of the reference"),
        ("Run", report.model_run_id),
        ("Bundle", report.bundle_digest or "not to be had"),
        ("Contract", f"{report.contract} {', '.join(report.contract_hashes)}".strip()),
        ("Made", readable(report.made_at)),
    ]
    if report.figures.first_at and report.figures.last_at:
        facts.insert(3, ("First, last", f"{readable(report.figures.first_at)}, {readable(report.figures.last_at)}"))
    if report.figures.ignored_fields:
        facts.insert(3, ("Ignored", f"{report.figures.ignored_fields:,} fields that the contract does not know"))
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts)
    return (
        f'<section><h2>About this report</h2><dl>{rows}</dl><p class="note screen" style="margin-top:12px">'
        f'The same as data: <a href="summary.json">summary.json</a></p></section>'
    )
