"""The page over all reports: a table that is complete without scripts, and searched with a few lines of one."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from html import escape
from itertools import islice

import msgspec

from reporting.document import NO_RUN, Report
from reporting.page import document, verdict_of
from reporting.window import Window

MOST_ROWS = 5_000
"""Older reports stay where they are, but are not listed: the page would grow without end."""

# Hides the rows that do not fit; the fields are in the address, so that a search can be sent to somebody.
SCRIPT = """
const form=document.querySelector('.find'),rows=[...document.querySelectorAll('tbody tr')],
count=document.querySelector('#count');
function find(){const words=form.text.value.toLowerCase().split(/\\s+/).filter(Boolean);let shown=0;
for(const row of rows){const d=row.dataset,fits=words.every(w=>d.text.includes(w))&&
(!form.contract.value||d.contract===form.contract.value)&&(!form.state.value||d.state===form.state.value)&&
(!form.from.value||d.end>form.from.value+'T00:00:00+00:00')&&(!form.to.value||d.start.slice(0,10)<=form.to.value);
row.hidden=!fits;shown+=fits}
count.textContent=shown+' of '+rows.length+' reports'}
function keep(){const q=new URLSearchParams();for(const f of form.elements)if(f.name&&f.value)q.set(f.name,f.value);
history.replaceState(null,'',location.pathname+(q.size?'?'+q:''))}
for(const [name,value] of new URLSearchParams(location.search))if(form.elements[name])form.elements[name].value=value;
form.hidden=false;form.addEventListener('input',()=>{find();keep()});form.addEventListener('submit',e=>e.preventDefault());
find();
"""
_HASH = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'"
)


class Line(msgspec.Struct, frozen=True):
    """One report as the index and index.json list it; `path` is relative to them."""

    path: str
    contract: str
    title: str
    model_run_id: str
    start: str
    end: str
    state: str
    rows: int
    drifted: list[str]
    evidently: bool


def lines(reports: Iterable[tuple[str, Report]]) -> list[Line]:
    """What the index says of each report, in the order given."""
    return [
        Line(
            path=path,
            contract=report.contract,
            title=report.title,
            model_run_id=report.model_run_id,
            start=report.start.isoformat(),
            end=report.end.isoformat(),
            state=_state(report),
            rows=report.figures.rows,
            drifted=report.drifted,
            evidently=bool(report.evidently and report.evidently.page),
        )
        for path, report in islice(reports, MOST_ROWS)
    ]


def index_page(reports: Sequence[tuple[str, Report]]) -> str:
    """A whole HTML document over the reports, newest first as given."""
    listed = lines(reports)
    rows = "".join(_row(line, report) for line, (_, report) in zip(listed, reports, strict=False))
    head = "".join(
        f"<th{' class=n' if name == 'Predictions' else ''}>{name}</th>"
        for name in ("Window", "Contract", "Run", "State", "Predictions", "Drifted columns", "")
    )
    table = (
        f'<table class="stack"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
        if rows
        else "<p>There are no reports yet. The first is written by <code>python -m reporting</code>.</p>"
    )
    contracts = sorted({(line.contract, line.title) for line in listed})
    body = (
        '<header><p class="over">Churnwatch</p><h1>Reports</h1>'
        f'<p class="sub" id="count">{len(listed)} reports</p></header>'
        f"<main><section>{_search(contracts)}{table}</section>"
        '<p class="note">The same list as data: <a href="index.json">index.json</a></p></main>'
        f"<script>{SCRIPT if rows else ''}</script>"
    )
    return document("Churnwatch reports", body, POLICY)


def index_json(reports: Iterable[tuple[str, Report]]) -> bytes:
    """The same list for scripts."""
    return msgspec.json.format(msgspec.json.encode({"reports": lines(reports)}), indent=1)


def _state(report: Report) -> str:
    if report.state == "ok" and (report.drifted or report.quality):
        return "drifted" if report.drifted else "bad quality"
    return report.state


def _search(contracts: Sequence[tuple[str, str]]) -> str:
    named = "".join(f'<option value="{escape(name)}">{escape(title)}</option>' for name, title in contracts)
    states = "".join(
        f"<option>{state}</option>" for state in ("drifted", "bad quality", "ok", "insufficient", "empty", "broken")
    )
    return (
        '<form class="find" hidden><label>Run, column or contract<input name="text" type="search"></label>'
        f'<label>Contract<select name="contract"><option value="">all</option>{named}</select></label>'
        f'<label>State<select name="state"><option value="">any</option>{states}</select></label>'
        '<label>From day<input name="from" type="date"></label>'
        '<label>To day<input name="to" type="date"></label></form>'
    )


def _row(line: Line, report: Report) -> str:
    style, sign, words = verdict_of(report)
    run = "–" if line.model_run_id == NO_RUN else line.model_run_id
    searched = " ".join([line.contract, line.title, run, line.start, *line.drifted]).lower()
    drifted = ", ".join(line.drifted[:6]) + (f" and {len(line.drifted) - 6} more" if len(line.drifted) > 6 else "")
    path = escape(line.path)
    evidently = f'<a href="{path}/evidently.html">Evidently</a>' if line.evidently else ""
    return (
        f'<tr data-text="{escape(searched)}" data-contract="{escape(line.contract)}" data-state="{line.state}" '
        f'data-start="{line.start}" data-end="{line.end}">'
        f'<td class="name"><a href="{path}/index.html">{escape(str(Window(report.start, report.end)))}</a></td>'
        f'<td>{escape(line.title)}</td><td class="mono" title="{escape(run)}">{escape(run[:12])}</td>'
        f'<td><span class="tag {style}">{sign} {escape(words)}</span></td>'
        f'<td class="n" data-k="Predictions">{line.rows:,}</td><td>{escape(drifted)}</td><td>{evidently}</td></tr>'
    )
