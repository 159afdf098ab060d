"""The summary's sections on columns: the drifted ones large, all of them in a table."""

from __future__ import annotations

from html import escape

from reporting import charts
from reporting.charts import BEYOND, TWO_SIDES, chance, key, percent
from reporting.document import ColumnReport, Report

LARGE_CHARTS = 12
"""A page stays small and readable: more drifted columns are in the table only."""
SMALL_CHARTS = 100
METHODS = {
    "ks": "Kolmogorov-Smirnov test",
    "rank_sum": "rank-sum test",
    "chi_square": "chi-square test",
    "exact": "exact test",
    "missing_share": "share of missing values",
    "unknown_share": "share of unknown levels",
}
"""The most significant test of a column, in words."""


def drifted_section(report: Report) -> str:
    """The drifted columns, strongest first, each with its two distributions; nothing when none drifted."""
    columns = [column for column in report.columns if column.verdict == "drifted"]
    if not columns:
        return ""
    strongest = sorted(columns, key=lambda column: -(column.effect or 0.0))
    cards = "".join(_card(column) for column in strongest[:LARGE_CHARTS])
    more = len(columns) - LARGE_CHARTS
    note = f'<p class="note">{more} more are in the table of all columns.</p>' if more > 0 else ""
    beyond = any(column.outside_window for column in strongest[:LARGE_CHARTS])
    legend = key(*TWO_SIDES, BEYOND) if beyond else key(*TWO_SIDES)
    return f'<section><h2>Drifted columns</h2>{legend}<div class="cards">{cards}</div>{note}</section>'


def _card(column: ColumnReport) -> str:
    unit = f", {column.unit}" if column.unit else ""
    chart = charts.distribution(column.bars, charts.in_words(column.name, column.bars)) if column.bars else ""
    return (
        f'<div class="card"><h3>{escape(column.name)}</h3>'
        f"<p>{escape(column.description + unit)}</p>{chart}"
        f'<p class="note">{escape(_found(column))}{escape(_missing_words(column))}</p></div>'
    )


def _found(column: ColumnReport) -> str:
    if column.p_value is None or column.effect is None:
        return column.reason
    method = METHODS.get(column.method or "", column.method or "no test")
    return f"Chance {chance(column.p_value)}, effect {column.effect:.3f}; {method}"


def _missing_words(column: ColumnReport) -> str:
    """Numbers have no bar for what is missing, so it is said."""
    levels = column.bars is not None and column.bars.shape == "levels"
    if levels or abs(column.missing_window - column.missing_reference) < 0.005:
        return ""
    return f". Missing: {percent(column.missing_window)}, was {percent(column.missing_reference)}"


def columns_section(report: Report) -> str:
    """Every column on a line: distributions, verdict and quality."""
    if not report.columns:
        return ""
    names = ("Column", "Distribution", "Verdict", "Chance", "Effect", "Missing", "Unknown", "Outside")
    head = "".join(f"<th{' class=n' if index > 2 else ''}>{name}</th>" for index, name in enumerate(names))
    rows = "".join(_row(column, index < SMALL_CHARTS) for index, column in enumerate(report.columns))
    return (
        f"<section><h2>All columns</h2>{key(*TWO_SIDES)}"
        f'<table class="stack"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></section>'
    )


def _row(column: ColumnReport, drawn: bool) -> str:
    style, sign = {"drifted": ("drift", "▲"), "quiet": ("fine", "✓")}.get(column.verdict, ("", "…"))
    spark = charts.spark(column.bars, charts.in_words(column.name, column.bars)) if column.bars and drawn else ""
    missing = escape(percent(column.missing_window))
    if column.missing_window or column.missing_reference:
        missing += f"<small>was {escape(percent(column.missing_reference))}</small>"
    cells = (
        ("Chance", escape(chance(column.p_value)) if column.p_value is not None else "–"),
        ("Effect", f"{column.effect:.3f}" if column.effect is not None else "–"),
        ("Missing", missing),
        ("Unknown", escape(percent(column.unknown_window + column.invalid_window))),
        ("Outside", escape(percent(column.outside_window))),
    )
    numbers = "".join(
        f'<td class="n{" zero" if value == "0" else ""}" data-k="{name}">{value}</td>' for name, value in cells
    )
    return (
        f'<tr><td class="name">{escape(column.name)}<small>{escape(column.description)}</small></td>'
        f'<td>{spark}</td><td><span class="tag {style}">{sign} {column.verdict}</span></td>{numbers}</tr>'
    )
