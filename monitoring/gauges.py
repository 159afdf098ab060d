"""What the watch knows, as metrics: the newest judged window of each contract and run, and what rings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import get_args

from churn.drift import MINIMUM_EFFECT, State, WindowVerdict
from churn.histogram import Histograms, Profile
from churn.metrics import SnapshotGauge, WatchMetrics
from churn.quality import CHECKS, TOLERANCES, Check
from monitoring.judged import Judged
from monitoring.truth import RunTruth
from monitoring.watch import RunState

SECONDS_A_DAY = 86_400.0
SHORTEST_PACE_SECONDS = 60.0
"""A window by count may be a burst of a moment: its pace says nothing about a day."""
SHOWN_RUNS = 8
"""Of each contract: what is served, its challengers, and what was retired lately."""
LATER = datetime.max.replace(tzinfo=UTC)
Series = dict[tuple[str, ...], float]
Extra = Mapping[tuple[str, ...], float]
"""Scores from elsewhere: (contract, model_run_id, feature, method) -> value."""


def show(
    metrics: WatchMetrics,
    runs: Iterable[RunState],
    extra_scores: Extra | None = None,
    truths: Mapping[tuple[str, str], RunTruth] | None = None,
) -> None:
    """Replace what the gauges tell. A run whose windows were never judged has its state alone."""
    collected: dict[SnapshotGauge, Series] = {
        gauge: {} for gauge in vars(metrics).values() if _replaced(metrics, gauge)
    }
    for run in runs:
        labels = (run.contract, run.model_run_id)
        state = current_state(run)
        for name in get_args(State):
            collected[metrics.window_state][*labels, name] = float(name == state)
        collected[metrics.run_retired][labels] = float(bool(run.retired))
        for alarm in run.book.ringing:
            cause = alarm.cause
            collected[metrics.alarm][*labels, cause.column, cause.check, cause.severity] = 1.0
        if run.latest is not None:
            _window(metrics, collected, labels, run.latest)
            _performance(metrics, collected, labels, run.latest, (truths or {}).get(labels))
    collected[metrics.drift_score].update(extra_scores or {})
    for gauge, series in collected.items():
        gauge.show(series)


def newest_runs(runs: Iterable[RunState], most: int = SHOWN_RUNS) -> list[RunState]:
    """Of each contract the runs to show: those without a judged window yet, then those judged last. A store may hold
    a run a day for years, and each has some 1,500 series."""
    shown: dict[str, list[RunState]] = {}
    for run in sorted(runs, key=lambda run: run.latest.window.end if run.latest else LATER, reverse=True):
        shown.setdefault(run.contract, []).append(run)
    return [run for runs_of_contract in shown.values() for run in runs_of_contract[:most]]


def current_state(run: RunState) -> State:
    """Silence and a bundle that cannot be had count more than what the last window said."""
    if run.stale:
        return "stale"
    if run.pending:
        return "broken"
    return run.latest.verdict.state if run.latest else "insufficient"


def current_reason(run: RunState) -> str:
    """The sentence to `current_state`."""
    return (
        run.stale
        or run.retired
        or run.pending
        or (run.latest.verdict.reason if run.latest else "no window has closed yet")
    )


def count_window(metrics: WatchMetrics, judged: Judged) -> None:
    """Add a newly judged window to the counters."""
    window = judged.window
    metrics.windows.labels(window.contract, window.model_run_id, judged.verdict.state).inc()


def count_bins(metrics: WatchMetrics, judged: Judged, profile: Profile) -> None:
    """Add a newly judged window's rows to the counters of its columns' bins."""
    window = judged.window
    if judged.histograms is None:
        return
    counted = Histograms(profile.layout).load(judged.histograms)
    for column in profile.layout:
        for name, rows in zip(bin_names(column.labels()), counted.counts[column.name].tolist(), strict=True):
            metrics.bins.labels(window.contract, window.model_run_id, column.name, name).inc(rows)


def show_reference_bins(metrics: WatchMetrics, profiles: Mapping[tuple[str, str], Profile]) -> None:
    """The reference's share in each bin, beside the counters."""
    series: Series = {}
    for (contract, run), profile in profiles.items():
        for column in profile.layout:
            counts = profile.reference.counts[column.name]
            shares = counts / max(1, profile.reference.rows)
            for name, share in zip(bin_names(column.labels()), shares.tolist(), strict=True):
                series[contract, run, column.name, name] = share
    metrics.bin_reference_ratio.show(series)


def bin_names(labels: list[str]) -> list[str]:
    """Cell labels as label values: numbered, so that they are distinct and sort."""
    return [f"{index:02d} {label}" for index, label in enumerate(labels)]


def _replaced(metrics: WatchMetrics, metric: object) -> bool:
    return isinstance(metric, SnapshotGauge) and metric is not metrics.bin_reference_ratio


def _window(
    metrics: WatchMetrics, collected: dict[SnapshotGauge, Series], labels: tuple[str, str], judged: Judged
) -> None:
    verdict = judged.verdict
    collected[metrics.window_rows][labels] = verdict.rows
    collected[metrics.window_end][labels] = judged.window.end.timestamp()
    collected[metrics.reference_rows][labels] = verdict.reference_rows
    collected[metrics.drift_threshold][labels] = verdict.budget
    effects = {column.minimum_effect for column in verdict.columns}
    collected[metrics.drift_minimum_effect][labels] = max(effects, default=MINIMUM_EFFECT)
    for feature, share in judged.importance.items():
        collected[metrics.importance][*labels, feature] = share
    if judged.joint is not None:
        collected[metrics.joint_auc][labels] = judged.joint.auc
        collected[metrics.joint_p_value][labels] = judged.joint.p_value
        collected[metrics.joint_alarm][labels] = float(judged.joint.drifted)
    _columns(metrics, collected, labels, verdict)
    failed = {(problem.column, problem.check) for problem in judged.quality}
    for column in verdict.columns:
        for check in CHECKS:
            series = (*labels, column.column, check)
            collected[metrics.quality_alarm][series] = float((column.column, check) in failed)


def _columns(
    metrics: WatchMetrics, collected: dict[SnapshotGauge, Series], labels: tuple[str, str], verdict: WindowVerdict
) -> None:
    for column in verdict.columns:
        series = (*labels, column.column)
        scores = {"js_distance": column.js_distance, "psi": column.psi, "effect": column.effect}
        if column.method != "none":
            scores[column.method] = column.statistic
        for method, score in scores.items():
            collected[metrics.drift_score][*series, method] = score
        for gauge, value in (
            (metrics.drift_p_value, column.adjusted_p_value),
            (metrics.drift_alarm, float(column.drifted)),
            (metrics.missing_ratio, column.missing_share),
            (metrics.unknown_ratio, column.unknown_share),
            (metrics.invalid_ratio, column.invalid_share),
            (metrics.out_of_range_ratio, column.out_of_range_share),
        ):
            collected[gauge][series] = value
        shares: dict[Check, float] = {
            "missing": column.reference_missing_share,
            "unknown": column.reference_unknown_share,
            "out_of_range": 0.0,
        }
        for check, share in shares.items():
            collected[metrics.quality_threshold][*series, check] = share + TOLERANCES[check]


def _performance(
    metrics: WatchMetrics,
    collected: dict[SnapshotGauge, Series],
    labels: tuple[str, str],
    latest: Judged,
    truth: RunTruth | None,
) -> None:
    told = [(latest, latest.estimated)] if latest.estimated else []
    if truth is not None:
        told.append((truth.newest, truth.performance))
        collected[metrics.label_coverage][labels] = truth.performance.coverage
        collected[metrics.concept_drift][labels] = float(truth.concept is not None)
        for name, figure in (truth.newest.estimated.figures if truth.newest.estimated else {}).items():
            if name in truth.performance.figures and name != "profit":
                collected[metrics.estimate_error][*labels, name] = figure.value - truth.performance.figures[name].value
    for judged, performance in told:
        if performance is None:
            continue
        for name, figure in performance.figures.items():
            if name == "profit":
                seconds = (judged.window.end - judged.window.start).total_seconds()
                if seconds >= SHORTEST_PACE_SECONDS:
                    collected[metrics.profit_per_day][*labels, performance.kind] = (
                        figure.value * SECONDS_A_DAY / seconds
                    )
                continue
            for bound in ("value", "low", "high"):
                series = (*labels, name, performance.kind, bound)
                collected[metrics.performance][series] = getattr(figure, bound)
        if "auc" in performance.figures:
            collected[metrics.auc][*labels, performance.kind] = performance.figures["auc"].value
