"""The summary's section on how well the model decides: estimated and realised side by side."""

from __future__ import annotations

from html import escape

from churn.performance import Figure, Performance
from reporting.charts import percent
from reporting.document import Report

FIGURES = {
    "auc": "AUC",
    "log_loss": "Log loss",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "calibration_error": "Calibration error",
    "churn_rate": "Share that leaves",
    "profit": "Profit",
}
SHARES = {"precision", "recall", "churn_rate"}


def performance_section(report: Report) -> str:
    """A table of figures with their intervals, or the sentences that say why there are none."""
    if not report.figures.rows or not (report.estimated or report.realised):
        return ""
    parts = ["<section><h2>Performance</h2>", f"<p>{escape(_coverage(report))}</p>"]
    told = [performance for performance in (report.estimated, report.realised) if performance and performance.figures]
    if told:
        parts.append(_table(report, told))
    if report.estimated and report.estimated.reason:
        parts.append(f"<p>{escape(report.estimated.reason.capitalize())}.</p>")
    if report.estimated and report.estimated.figures:
        parts.append(
            '<p class="note">The estimate follows from the probabilities and sees changed customers, not changed '
            "behaviour: only labels can show that.</p>"
        )
    return "".join([*parts, "</section>"])


def _coverage(report: Report) -> str:
    realised = report.realised
    if realised is None:
        return "No ground truth has come for these predictions yet; the web service takes it at /feedback."
    sentence = f"{realised.rows:,} of {report.figures.rows:,} predictions have ground truth"
    sentence = f"{sentence} ({percent(realised.coverage)})."
    if realised.reason:
        return f"{sentence} Nothing can be told yet: {realised.reason}."
    if not realised.mature:
        return f"{sentence} It is early: those who leave are often known before those who stay."
    return sentence


def _table(report: Report, told: list[Performance]) -> str:
    currency = report.money.currency if report.money else ""
    head = "".join(
        f'<th class="n">{performance.kind.capitalize()}<small>{performance.rows:,} rows</small></th>'
        for performance in told
    )
    rows = []
    for name, title in FIGURES.items():
        if not any(name in performance.figures for performance in told):
            continue
        cells = "".join(
            f'<td class="n">{_cell(name, performance.figures.get(name), escape(currency))}</td>' for performance in told
        )
        rows.append(f"<tr><td>{title}</td>{cells}</tr>")
    return (
        f'<div class="scroll"><table><thead><tr><th>Figure<small>95 % interval</small></th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _cell(name: str, figure: Figure | None, currency: str) -> str:
    if figure is None:
        return "–"
    value, low, high = (_number(name, number) for number in (figure.value, figure.low, figure.high))
    unit = f" {currency}" if name == "profit" else ""
    return f"{value}{unit}" if low == high else f"{value}{unit}<small>{low} to {high}</small>"


def _number(name: str, value: float) -> str:
    if name == "profit":
        return f"{value:,.0f}".replace("-", "−")
    return percent(value) if name in SHARES else f"{value:.3f}"
