"""The evidence as one page to decide by: self-contained HTML, light and dark, narrow and on paper."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from html import escape

from orchestration.comparison import Cell, Interval
from orchestration.evidence import Evidence, Replayed, RequestSegment, Truth, TruthSegment
from orchestration.gates import Gate, Record

STYLE = """
:root{color-scheme:light dark;--paper:#f6f6f3;--card:#fff;--ink:#1c2330;--soft:#586173;--rule:#dfe2e7;--win:#3f72b8;
--all:#8a94a6;--drift:#a8480a;--drift-paper:#fdf0e4;--fine:#27704a}
@media(prefers-color-scheme:dark){:root{--paper:#13161b;--card:#1b1f26;--ink:#e6e9ee;--soft:#9ca6b5;--rule:#2d333d;
--win:#5b92dc;--all:#8a94a6;--drift:#f2a65e;--drift-paper:#2c231a;--fine:#74c79b}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"Noto Sans",sans-serif;font-variant-numeric:tabular-nums;-webkit-text-size-adjust:100%}
main,header{max-width:1080px;margin:0 auto;padding:0 20px}header{padding:36px 20px 18px}main{padding-bottom:48px}
.over,.note{font-size:13px;color:var(--soft);margin:0 0 6px}h1{font-size:30px;line-height:1.2;margin:0 0 6px}
h2{font-size:19px;margin:0 0 14px}p{margin:0 0 10px}code{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;
overflow-wrap:anywhere}
section{background:var(--card);border:1px solid var(--rule);border-radius:10px;padding:20px;margin:0 0 16px}
.state{border-left:5px solid var(--fine)}.state.bad{border-left-color:var(--drift);background:var(--drift-paper)}
.state strong{font-size:19px;display:block}.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:14px}
th{text-align:left;font-weight:600;color:var(--soft);font-size:13px;padding:6px 12px 6px 0;
border-bottom:1px solid var(--rule);vertical-align:bottom}
td{padding:7px 12px 7px 0;border-bottom:1px solid var(--rule)}tr:last-child td{border-bottom:0}
td.n,th.n{text-align:right;white-space:nowrap}td small{display:block;color:var(--soft);font-size:12.5px}
.no{color:var(--drift);font-weight:650}.yes{color:var(--fine)}
svg{display:block;width:100%;max-width:420px;height:auto}svg text{font-size:11px;fill:var(--soft)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:4px 18px;margin:0;font-size:14px}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
@media(max-width:640px){header{padding-top:24px}h1{font-size:25px}section{padding:16px}dl{grid-template-columns:1fr}}
@media print{:root{--paper:#fff;--card:#fff;--ink:#000;--soft:#444;--rule:#bbb;--drift-paper:#fff}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}tr,section{break-inside:avoid}}
"""
VERDICTS = {
    "promoted": "Promoted: this model is the champion",
    "refused": "Refused: the champion stays",
    "fit": "Fit to be promoted; nothing was moved",
    "unfit": "Not fit to be promoted",
}
FIGURES = {
    "auc": ("AUC", "higher is better"),
    "log_loss": ("Log loss", "lower is better"),
    "brier": ("Brier score", "lower is better"),
    "recall": ("Recall", "of those who left, the share contacted"),
    "precision": ("Precision", "of those contacted, the share that left"),
    "contacted_share": ("Contacted", "share of all customers"),
    "profit_per_1000": ("Profit", "per 1,000 customers"),
}
SIDE = 300


def evidence_page(record: Record, digest: str) -> str:
    """Complete HTML. `digest` is the sha256 of the evidence.json beside it."""
    evidence = record.evidence
    title = f"Evidence for {evidence.run_id[:12]}, {evidence.contract}"
    body = "".join(
        [
            _verdict(record),
            _gates(record),
            _quality(evidence.truth, evidence.currency),
            _calibration(evidence.truth),
            _flips(evidence.requests),
            _fairness(evidence.truth),
            _facts(record, digest),
        ]
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style>"
        f'<header><p class="over">Churnwatch · promotion · {escape(evidence.contract)}</p>'
        f"<h1>May run {escape(evidence.run_id[:12])} go live?</h1></header><main>{body}</main></html>"
    )


def _verdict(record: Record) -> str:
    failed = record.failed
    gates = "all gates passed" if not failed else "failed: " + ", ".join(gate.name for gate in failed)
    forced = " It was forced past them." if record.forced else ""
    reason = f" Reason given: {escape(record.reason)}." if record.reason else ""
    return (
        f'<section class="state{" bad" if failed else ""}"><strong>{VERDICTS[record.outcome]}</strong>'
        f"<p>{gates[0].upper() + gates[1:]}.{forced} By {escape(record.by)}, "
        f"{record.at.astimezone(UTC):%Y-%m-%d %H:%M} UTC.{reason}</p></section>"
    )


def _gates(record: Record) -> str:
    rows = [[_passed(gate), escape(gate.name), escape(gate.sentence)] for gate in record.gates]
    return _section("Gates", _table(["", "Gate", "Found"], rows, numbers=0))


def _passed(gate: Gate) -> str:
    return f'<span class="{"yes" if gate.passed else "no"}">{"passed" if gate.passed else "failed"}</span>'


def _quality(truth: Truth, currency: str) -> str:
    judged = truth.judged
    if judged is None:
        return _section("Quality", f"<p>It cannot be told: {escape(truth.problem)}.</p>")
    rows = []
    for name, (label, meaning) in FIGURES.items():
        if name not in judged.figures:
            continue
        unit = f", {escape(currency)}" if name == "profit_per_1000" else ""
        champion = truth.champion.figures.get(name) if truth.champion else None
        cells = [f"{label}<small>{meaning}{unit}</small>", _interval(judged.figures[name])]
        rows.append([*cells, _interval(champion), _interval(truth.difference.get(name), signed=True)])
    note = (
        f'<p class="note">On {escape(truth.source)}, {truth.churned:,} of {truth.rows:,} left. Below each figure its '
        "95 % interval; the difference is paired: both models on the same draws of rows.</p>"
    )
    return _section("Quality", note + _table(["", "Candidate", "Champion", "Difference"], rows, numbers=3))


def _calibration(truth: Truth) -> str:
    if truth.judged is None:
        return ""
    champion = truth.champion
    words = f"Mean distance {truth.judged.calibration_error:.3f}"
    words += f", the champion's {champion.calibration_error:.3f}." if champion else "."
    chart = _curve(truth.judged.curve, champion.curve if champion else [])
    key = "Blue: the candidate; grey: the champion. A larger dot holds more rows." if champion else ""
    return _section("Calibration", f'<p class="note">{words} {key}</p>{chart}')


def _flips(requests: Replayed) -> str:
    routes = ", ".join(f"{count:,} by {route}" for route, count in sorted(requests.routes.items()))
    note = f"{requests.source}{f' ({routes})' if routes else ''}: it contacts {requests.contacted_share:.1%}"
    if requests.flips is not None:
        found = requests.flips
        note += (
            f", the champion {requests.champion_contacted_share or 0:.1%}. It decides {found.share:.1%} otherwise: "
            f"{found.newly_contacted:,} newly contacted, {found.no_longer_contacted:,} no longer"
        )
    rows = [_flip_row(segment) for segment in requests.segments]
    heads = ["Segment", "Rows", "Contacts", "Champion contacts", "Newly", "No longer", "Flips"]
    table = _table(heads, rows, numbers=6) if rows else "<p>The contract has no feature with levels.</p>"
    return _section("Decisions on replayed requests", f'<p class="note">{escape(note)}.</p>{table}')


def _flip_row(segment: RequestSegment) -> list[str]:
    found = segment.flips
    newly, no_longer, share = ("–", "–", "–")
    if found is not None:
        newly, no_longer, share = f"{found.newly_contacted:,}", f"{found.no_longer_contacted:,}", f"{found.share:.1%}"
    shares = [_percent(segment.contacted_share), _percent(segment.champion_contacted_share)]
    return [_level(segment), f"{segment.rows:,}", *shares, newly, no_longer, share]


def _fairness(truth: Truth) -> str:
    if truth.judged is None or not truth.segments:
        return ""
    note = (
        "For you to weigh, not a gate. Found: of those who left, the share contacted. In vain: of those who stayed, "
        "the share contacted. Gap: mean probability less the share that left. A dash: too few rows to say."
    )
    rows = [
        [_level(s), f"{s.rows:,}", f"{s.churned:,}", _percent(s.recall), _percent(s.false_alarm_share), _gap(s)]
        for s in truth.segments
    ]
    heads = ["Segment", "Rows", "Left", "Found", "In vain", "Gap"]
    return _section("Fairness over segments", f'<p class="note">{note}</p>' + _table(heads, rows, numbers=5))


def _facts(record: Record, digest: str) -> str:
    evidence = record.evidence
    facts = {
        "Run": f"<code>{evidence.run_id}</code>",
        "Bundle": f"<code>{evidence.digest}</code>",
        "Family": f"{escape(evidence.family)}, threshold {evidence.threshold:.4f}",
        "Champion then": f"<code>{evidence.champion_run_id or 'none'}</code>",
        "Contract": f"<code>{evidence.contract_sha256}</code>",
        "Features": f"<code>{escape(evidence.features_version)}</code>",
        "One request": _latencies(evidence),
        "Made in": f"{evidence.seconds:.1f} s",
        "evidence.json": f"<code>sha256 {digest}</code>",
    }
    return _section("Facts", "<dl>" + "".join(f"<dt>{k}</dt><dd>{v}</dd>" for k, v in facts.items()) + "</dl>")


def _latencies(evidence: Evidence) -> str:
    pairs = [("candidate", evidence.requests.latency), ("champion", evidence.requests.champion_latency)]
    return "; ".join(
        f"{name}: median {one.median_seconds * 1e6:,.0f} µs, 95 of 100 within {one.p95_seconds * 1e6:,.0f} µs, "
        f"in a batch {one.batch_row_seconds * 1e6:,.1f} µs a row"
        for name, one in pairs
        if one is not None
    )


def _curve(candidate: Sequence[Cell], champion: Sequence[Cell]) -> str:
    """A reliability diagram: predicted to the right, seen upwards, the diagonal is perfect."""
    marks = [
        f'<line x1="30" y1="{SIDE + 10}" x2="{SIDE + 30}" y2="10" stroke="var(--soft)" stroke-dasharray="4 3"/>',
        f'<rect x="30" y="10" width="{SIDE}" height="{SIDE}" fill="none" stroke="var(--rule)"/>',
        f'<text x="30" y="{SIDE + 26}">0</text><text x="{SIDE + 22}" y="{SIDE + 26}">1</text>',
        f'<text x="{SIDE / 2 - 30}" y="{SIDE + 26}">predicted probability</text>',
        f'<text x="18" y="{SIDE / 2 + 50}" transform="rotate(-90 18 {SIDE / 2 + 50})">share that left</text>',
    ]
    for cells, colour in ((champion, "var(--all)"), (candidate, "var(--win)")):
        points = [(30 + SIDE * c.probability, 10 + SIDE * (1 - c.churned_share), c) for c in cells]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in points)
        marks.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        total = max((c.rows for c in cells), default=1)
        marks += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{2.5 + 4 * (c.rows / total) ** 0.5:.1f}" fill="{colour}">'
            f"<title>{c.rows:,} rows: predicted {c.probability:.1%}, left {c.churned_share:.1%}</title></circle>"
            for x, y, c in points
        ]
    label = "Reliability diagram: predicted probability against the share that left"
    return f'<svg viewBox="0 0 {SIDE + 50} {SIDE + 34}" role="img" aria-label="{label}">{"".join(marks)}</svg>'


def _level(segment: RequestSegment | TruthSegment) -> str:
    return f"{escape(segment.level)}<small>{escape(segment.feature)}</small>"


def _interval(one: Interval | None, signed: bool = False) -> str:
    if one is None:
        return "–"
    digits = 0 if max(abs(one.value), abs(one.low), abs(one.high)) >= 10 else 4
    sign = "+" if signed else ""
    value, low, high = (f"{number:{sign},.{digits}f}" for number in (one.value, one.low, one.high))
    return f"{value}<small>{low} to {high}</small>"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"


def _gap(segment: TruthSegment) -> str:
    return "–" if segment.calibration_gap is None else f"{segment.calibration_gap:+.3f}"


def _section(title: str, content: str) -> str:
    return f"<section><h2>{title}</h2>{content}</section>"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], numbers: int) -> str:
    """Cells are HTML already; the last `numbers` columns are aligned to the right."""
    first = len(heads) - numbers
    head = "".join(f"<th{' class=n' if i >= first else ''}>{name}</th>" for i, name in enumerate(heads))
    body = "".join(
        "<tr>" + "".join(f"<td{' class=n' if i >= first else ''}>{cell}</td>" for i, cell in enumerate(row)) + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
