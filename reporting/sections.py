"""The summary's sections on alarms, answers, money and Evidently."""

from __future__ import annotations

from html import escape

from reporting import charts
from reporting.charts import PARTS, TWO_SIDES, key, percent
from reporting.document import Report, SecondOpinion
from reporting.window import readable


def alarms_section(report: Report) -> str:
    """The watch's alarms in the window, and the checks of quality that fail; nothing when there are neither."""
    if not report.alarms and not report.quality:
        return ""
    items = []
    for alarm in report.alarms:
        until = f"until {readable(alarm.closed_at)}" if alarm.closed_at else "still open when this was written"
        words = f"{alarm.severity}: {alarm.summary}, from {readable(alarm.opened_at)}, {until}"
        items.append(f'<li><span class="bad">▲</span> {escape(words)}</li>')
    failed = "".join(
        f"<li>{escape(problem.column)}, {problem.check.replace('_', ' ')}: {escape(problem.reason)}</li>"
        for problem in report.quality
    )
    parts = ["<section><h2>Alarms and quality</h2>"]
    if items:
        parts.append(f'<p>The watch rang:</p><ul class="plain">{"".join(items)}</ul>')
    if failed:
        parts.append(f'<p>Checks of quality that fail:</p><ul class="plain">{failed}</ul>')
    return "".join([*parts, "</section>"])


def answers_section(report: Report) -> str:
    """The probabilities answered, the traffic, and what acting on them is worth."""
    if not report.figures.rows:
        return ""
    score = ""
    if report.score:
        drawn = charts.score(
            report.score, report.figures.thresholds, charts.in_words("Churn probability", report.score)
        )
        known = any(report.score.reference)
        score = f"<div><h3>Churn probability</h3>{key(*TWO_SIDES) if known else ''}{drawn}</div>"
    busiest = max(report.timeline, key=lambda slot: slot.rows)
    words = f"Predictions over the window; most, {busiest.rows:,}, from {readable(busiest.start)}"
    traffic = charts.traffic(report.timeline, readable(report.start), readable(report.end), words)
    latency = ""
    if report.figures.median_latency_seconds is not None:
        median, tail = report.figures.median_latency_seconds * 1e3, (report.figures.p99_latency_seconds or 0) * 1e3
        words = f"Scored in {median:.3g} ms at the median, {tail:.3g} ms at the 99th percentile of batches."
        latency = f'<p class="note">{words}</p>'
    return (
        f'<section><h2>Answers</h2><div class="pair">{score}<div><h3>Traffic</h3>{key(*PARTS)}{traffic}</div></div>'
        f"{_money_note(report)}{latency}</section>"
    )


def _money_note(report: Report) -> str:
    """What the profit is made of, so that nobody takes it for a promise."""
    money = report.money
    if money is None:
        return ""
    return (
        f'<p class="note">Expected profit: {money.contacted:,} offers at {money.offer_cost:g} '
        f"{escape(money.currency)}; "
        f"{percent(money.success_rate)} of the leavers among them stay and are worth {money.kept_value:g} each. "
        "How many leave is taken from the calibrated probabilities, so it holds while the model does.</p>"
    )


def evidently_section(report: Report) -> str:
    """Evidently's verdicts beside ours, what it was not asked about, and the way to its page."""
    opinion = report.evidently
    if opinion is None:
        return ""
    parts = ["<section><h2>Second opinion: Evidently</h2>"]
    if opinion.problem:
        parts.append(f"<p>{escape(opinion.problem)}</p>")
    elif opinion.page is None:
        parts.append("<p>There was no column left to compare.</p>")
    else:
        parts.append(f"<p>{escape(_agreement(report, opinion))}</p>")
        parts.append(_scores(report, opinion))
        seconds = f" It took {opinion.seconds:.3g} s." if opinion.seconds else ""
        parts.append(
            f'<p class="note">On a sample of {opinion.rows:,} rows.{seconds} '
            f'<span class="screen"><a href="{escape(opinion.page)}">Evidently\'s page</a>'
            " (4 MB, needs scripts)</span></p>"
        )
    if opinion.skipped:
        items = "".join(f"<li>{escape(each['column'])}: {escape(each['reason'])}</li>" for each in opinion.skipped)
        parts.append(f'<p class="note">Not asked about:</p><ul class="plain note">{items}</ul>')
    return "".join([*parts, "</section>"])


def _agreement(report: Report, opinion: SecondOpinion) -> str:
    theirs = [str(score["column"]) for score in opinion.scores if score["drifted"]]
    if report.state != "ok":
        return f"Evidently calls drifted: {', '.join(theirs) or 'none'}. There is no verdict of our own to compare."
    ours = report.drifted
    both = [name for name in ours if name in theirs]
    sentences = []
    if not ours and not theirs:
        return "Evidently agrees: no column drifted."
    if both:
        sentences.append(f"Both call drifted: {', '.join(both)}.")
    if only := [name for name in ours if name not in theirs]:
        sentences.append(f"Only the watch: {', '.join(only)}.")
    if only := [name for name in theirs if name not in ours]:
        sentences.append(f"Only Evidently: {', '.join(only)}.")
    return " ".join(sentences)


def _scores(report: Report, opinion: SecondOpinion) -> str:
    ours = set(report.drifted)
    told = [score for score in opinion.scores if score["drifted"] or score["column"] in ours]
    if not told:
        return ""
    rows = "".join(
        f'<tr><td class="name">{escape(str(score["column"]))}</td><td>{escape(str(score["method"]))}</td>'
        f'<td class="n">{score["score"]:.3g}</td><td class="n">{score["threshold"]:.3g}</td>'
        f"<td>{'▲ drifted' if score['drifted'] else '✓ quiet'}</td></tr>"
        for score in told
    )
    head = (
        '<tr><th>Column</th><th>Method</th><th class="n">Score</th><th class="n">Threshold</th><th>Evidently</th></tr>'
    )
    return f'<div class="scroll"><table><thead>{head}</thead><tbody>{rows}</tbody></table></div>'
