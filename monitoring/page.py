"""The status document as one plain page: no script, no address but its own."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any
from urllib.parse import quote

WIDTH, HEIGHT = 120, 22
NOTHING = "No predictions in the store yet."

STYLE = """
:root { color-scheme: light dark; --line: #8884; --bad: #c0322b; --good: #2e7d4f; --dim: #777; }
@media (prefers-color-scheme: dark) { :root { --bad: #ff7b72; --good: #6fcf97; --dim: #999; } }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; }
h1 { font-size: 1.3rem; } h2 { font-size: 1.05rem; margin: 2rem 0 .3rem; }
code { font-size: .9em; overflow-wrap: anywhere; } p { margin: .3rem 0; } .dim { color: var(--dim); }
.state { border: 1px solid; border-radius: .3rem; padding: 0 .45rem; font-weight: 600; }
.ok { color: var(--good); } .bad, .alarm, .broken, .stale { color: var(--bad); }
.insufficient, .retired { color: var(--dim); } details { margin: 2rem 0 0; } summary { cursor: pointer; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .2rem .7rem .2rem 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
td.number, th.number { text-align: right; } th { font-weight: 600; color: var(--dim); font-size: .85rem; }
svg { vertical-align: middle; } polyline { fill: none; stroke: currentColor; stroke-width: 1.3; opacity: .75; }
"""


def render(document: dict[str, Any]) -> str:
    """HTML of the whole page; everything that came from outside is escaped."""
    nothing = "The watch has just started and is reading the log." if document.get("starting") else NOTHING
    serving = [run for run in document["runs"] if run["badge"] != "retired"]
    runs = "".join(_run(run) for run in serving) or f"<p>{nothing}</p>"
    runs += _retired([run for run in document["runs"] if run["badge"] == "retired"])
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Churnwatch: the watch</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="refresh" content="15"><style>{STYLE}</style></head><body>'
        f'<h1>The watch</h1><p class="dim">As of {_time(document["at"])} UTC. '
        'The same as <a href="/metrics">metrics</a> and as <a href="/status.json">JSON</a>.</p>'
        f"{runs}{_notifications(document.get('notifications', []))}</body></html>"
    )


def sparkline(values: Sequence[float | None]) -> str:
    """A line over the windows, the newest to the right; its top is the largest value, or 0.1 if that is less."""
    points = [(place, value) for place, value in enumerate(values) if value is not None]
    if len(points) < 2:
        return ""
    top = max(0.1, max(value for _, value in points))
    step = WIDTH / max(1, len(values) - 1)
    drawn = " ".join(f"{place * step:.1f},{HEIGHT - 2 - (HEIGHT - 4) * value / top:.1f}" for place, value in points)
    label = f"effect in the last {len(points)} windows, up to {max(value for _, value in points):.3f}"
    return (
        f'<svg width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
        f'<polyline points="{drawn}"/></svg>'
    )


def _notifications(told: Sequence[dict[str, str]]) -> str:
    if not told:
        return ""
    lines = "".join(
        f"<li>{_time(n['at'])} {escape(n['status'])} <b>{escape(n['alert'])}</b> {escape(n['summary'])}"
        f" <span class='dim'>{escape(n['figure'])}</span></li>"
        for n in told
    )
    return f"<h2>What Alertmanager sent</h2><ul>{lines}</ul>"


def _retired(runs: Sequence[dict[str, Any]]) -> str:
    """Runs that serve no more, folded away: their last windows may still be asked for."""
    if not runs:
        return ""
    said = "1 run serves no more" if len(runs) == 1 else f"{len(runs)} runs serve no more"
    return f"<details><summary>{said}</summary>{''.join(_run(run) for run in runs)}</details>"


def _run(run: dict[str, Any]) -> str:
    window = run["window"]
    badge, state = escape(run["badge"]), escape(run["state"])
    judged = "" if badge in (state, "retired") else "newest window: "
    still_open = f'<span class="dim"> {escape(run["open"])}.</span>' if run["open"] else ""
    parts = [
        f"<h2>{escape(run['contract'])} <code>{escape(run['model_run_id'])}</code></h2>",
        f'<p><span class="state {badge}">{badge}</span> {judged}{escape(run["reason"])}.{still_open}</p>',
    ]
    if run["alarms"]:
        parts += [f'<p class="bad">▲ {escape(a["severity"])}: {escape(a["summary"])}</p>' for a in run["alarms"]]
    else:
        parts.append('<p class="dim">Nothing rings.</p>')
    if window:
        routes = ", ".join(f"{rows:,} {escape(route)}" for route, rows in sorted(window["routes"].items()))
        parts.append(
            f'<p class="dim">Newest window: {_time(window["start"])} to {_time(window["end"])} UTC, '
            f"{window['rows']:,} rows ({routes}). {_verdicts(run['history'])}</p>"
        )
    parts += _performance(run["performance"])
    if run["columns"]:
        parts.append(_table(run["columns"]))
    if run["evidently"]:
        page = quote(run["evidently"])
        parts.append(f'<p class="dim"><a href="/evidently/{page}">Evidently\'s newest page on this run</a></p>')
    return "".join(parts)


def _performance(performance: dict[str, Any]) -> list[str]:
    lines = []
    for kind, note in (("estimated", "blind to concept drift"), ("realised", "")):
        found = performance[kind]
        if not found:
            continue
        figures = ", ".join(
            f"{escape(name.replace('_', ' '))} {figure['value']:,.3f} ({figure['low']:,.3f} to {figure['high']:,.3f})"
            for name, figure in found["figures"].items()
            if name in ("auc", "recall", "precision")
        )
        coverage = f", {found['coverage']:.0%} labelled" if kind == "realised" else f", {note}"
        lines.append(
            f"<p>{kind.capitalize()}: {figures or escape(found['reason'])}<span class='dim'>{coverage}</span></p>"
        )
    if joint := performance["joint"]:
        chance = f"chance {joint['p_value']:.2g}, told apart with AUC {joint['auc']:.3f}, {joint['rows']:,} rows"
        said = f"otherwise: {joint['told']}" if joint["drifted"] else "as in the reference"
        lines.append(
            f'<p class="{"bad" if joint["drifted"] else ""}">Features go together {escape(said)} ({chance}).</p>'
        )
    if concept := performance["concept_drift"]:
        before, after = concept["error_before"], concept["error_after"]
        lines.append(f'<p class="bad">▲ page: concept drift: wrong decisions rose from {before:.1%} to {after:.1%}</p>')
    return lines


def _time(iso: str) -> str:
    return escape(iso[:19].replace("T", " "))


def _verdicts(history: Sequence[dict[str, Any]]) -> str:
    drifted = sum(bool(window["drifted"] or window["quality"]) for window in history)
    return f"{drifted} of the last {len(history)} windows had something to tell."


def _table(columns: Sequence[dict[str, Any]]) -> str:
    head = (
        '<tr><th>column</th><th>last window</th><th class="number">chance</th><th class="number">effect</th>'
        '<th>effect, window by window</th><th class="number">PSI</th><th class="number">missing</th>'
        '<th class="number">importance</th></tr>'
    )
    return f'<div class="scroll"><table>{head}{"".join(_row(column) for column in columns)}</table></div>'


def _row(column: dict[str, Any]) -> str:
    bad = column["drifted"] or column["problem"]
    said = column["problem"] or (f"drifted ({column['method']})" if column["drifted"] else "as the reference")
    importance = "" if column["importance"] is None else f"{column['importance']:.1%}"
    return (
        f'<tr class="{"bad" if bad else "good"}"><td>{escape(column["column"])}</td>'
        f"<td>{'▲ ' if bad else ''}{escape(said)}</td>"
        f'<td class="number">{column["adjusted_p_value"]:.2g}</td><td class="number">{column["effect"]:.3f}</td>'
        f'<td>{sparkline(column["effects"])}</td><td class="number">{column["psi"]:.3f}</td>'
        f'<td class="number">{column["missing_share"]:.1%}</td><td class="number">{importance}</td></tr>'
    )
