"""A tuning's candidates side by side: the table of all trials, and one page with it and the curves."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from orchestration.evidence_page import STYLE
from orchestration.outcome import Outcome, Trial
from orchestration.search import ranked
from orchestration.training import TrainingSet

COLUMNS = {
    "auc": ("validation_auc", "AUC", "{:.4f}"),
    "average_precision": ("validation_average_precision", "Average precision", "{:.4f}"),
    "log_loss": ("validation_log_loss", "Log loss", "{:.4f}"),
    "brier": ("validation_brier", "Brier", "{:.4f}"),
    "recall": ("validation_recall", "Recall", "{:.1%}"),
    "precision": ("validation_precision", "Precision", "{:.1%}"),
    "profit_per_1000": ("validation_profit_per_1000", "Profit per 1,000", "{:,.0f}"),
    "threshold": ("threshold", "Threshold", "{:.3f}"),
    "cv_log_loss": ("cv_log_loss", "Log loss, folds", "{:.4f}"),
    "fit_seconds": ("fit_seconds", "Fit, s", "{:.1f}"),
    "prediction_microseconds": ("prediction_microseconds", "One row, µs", "{:.0f}"),
    "model_bytes": ("model_bytes", "Size, kB", "{:,.0f}"),
}
"""In the table: the metric behind a column, its heading, how it is written. Recall and precision are at the chosen
threshold; `folds` are the cross-validation that the search ranks by."""
MORE_CSS = """
main,header{max-width:1360px}td,th{padding-right:9px;font-size:13px}th.n{white-space:normal}
td small{min-width:200px;font-weight:400}
img{max-width:100%;height:auto;border-radius:6px;background:#fff}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:16px}
.first td{font-weight:650}details summary{cursor:pointer;color:var(--soft)}
"""


def trials_table(outcomes: Sequence[Outcome]) -> dict[str, list[Any]]:
    """All trials as columns, the finished by rank, then the pruned and the failed by number."""
    rows = [_row(rank, one) for rank, one in enumerate(in_order(outcomes), start=1)]
    return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}


def in_order(outcomes: Sequence[Outcome]) -> list[Outcome]:
    first = ranked(outcomes)
    rest = [one for status in ("pruned", "failed") for one in outcomes if one.status == status]
    return [*first, *sorted(rest, key=lambda one: (one.status == "failed", one.number))]


def comparison_page(
    data: TrainingSet, outcomes: Sequence[Outcome], test: Mapping[str, float], charts: Sequence[Path]
) -> str:
    """Complete HTML, its images inside, so that MLflow shows it as it is."""
    best = ranked(outcomes)[0]
    title = f"Candidates for {data.contract.name}"
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}{MORE_CSS}</style>"
        f'<header><p class="over">Churnwatch · tuning · features {escape(data.manifest.version)}</p>'
        f"<h1>{escape(title)}</h1></header><main>{_best(best, test)}"
        f"<section><h2>Curves</h2><div class=charts>{''.join(map(_image, charts))}</div></section>"
        f"{_finished(outcomes)}{_others(outcomes)}</main></html>"
    )


def cell(name: str, trial: Trial | None) -> str:
    """A trial's figure as it is written in a column; a dash where there is none."""
    metric, _, form = COLUMNS[name]
    value = trial.metrics.get(metric) if trial else None
    if value is None:
        return "–"
    return form.format(value / 1_000 if metric == "model_bytes" else value)


def _best(best: Outcome, test: Mapping[str, float]) -> str:
    told = (
        f"AUC {test['auc']:.4f}, average precision {test['average_precision']:.4f}, log loss {test['log_loss']:.4f}, "
        f"Brier score {test['brier']:.4f}; at its threshold recall {test['recall']:.1%}, precision "
        f"{test['precision']:.1%}, {test['contacted_share']:.1%} contacted"
    )
    run_id = best.trial.run_id if best.trial else ""
    return (
        f'<section class="state"><strong>{escape(best.family)}, trial {best.number}</strong>'
        f"<p>On the test rows, which nothing was chosen by: {told}.</p>"
        f'<p class="note">RUN_ID=<code>{run_id}</code> · its curves are the thick ones</p></section>'
    )


def _finished(outcomes: Sequence[Outcome]) -> str:
    heads = "".join(f"<th class=n>{escape(title)}</th>" for _, title, _ in COLUMNS.values())
    rows = []
    for rank, one in enumerate(ranked(outcomes), start=1):
        cells = "".join(f"<td class=n>{cell(name, one.trial)}</td>" for name in COLUMNS)
        settings = ", ".join(f"{key} {_short(value)}" for key, value in one.parameters.items())
        rows.append(
            f"<tr{' class=first' if rank == 1 else ''}><td class=n>{rank}</td><td>{escape(one.family)}"
            f"<small>{escape(settings)}</small></td>{cells}</tr>"
        )
    return (
        '<section><h2>Finished trials</h2><p class="note">On validation rows; ranked by the log loss of the folds.</p>'
        f"<div class=scroll><table><thead><tr><th class=n>#</th><th>Model</th>{heads}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _others(outcomes: Sequence[Outcome]) -> str:
    others = [one for one in in_order(outcomes) if one.status != "finished"]
    if not others:
        return ""
    rows = "".join(
        f"<tr><td class=n>{one.number}</td><td>{escape(one.family)}</td><td>{one.status}</td>"
        f"<td>{escape(one.reason)}</td></tr>"
        for one in others
    )
    return (
        f"<section><details><summary>{len(others)} trials were stopped early or failed</summary><div class=scroll>"
        "<table><thead><tr><th class=n>Trial</th><th>Model</th><th>How</th><th>Why</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div></details></section>"
    )


def _row(rank: int, one: Outcome) -> dict[str, Any]:
    metrics = one.trial.metrics if one.trial else {}
    figures = {name: _rounded(metrics.get(metric)) for name, (metric, _, _) in COLUMNS.items()}
    return {
        "rank": rank if one.status == "finished" else None,
        "family": one.family,
        "status": one.status,
        **figures,
        "trial": one.number,
        "run_id": one.trial.run_id if one.trial else "",
        "parameters": json.dumps({key: _short(value) for key, value in one.parameters.items()}),
        "reason": one.reason,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _image(path: Path) -> str:
    content = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{escape(path.stem.replace("_", " "))}" src="data:image/png;base64,{content}">'
