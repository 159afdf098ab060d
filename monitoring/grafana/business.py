"""Business: what the predictions are worth, how many there are, whom they name, and whether they come true."""

from __future__ import annotations

from typing import Any

from monitoring.grafana import panels
from monitoring.grafana.board import RUN, Row, alarms_figure, board
from monitoring.grafana.panels import AMBER, Query

ALERTS = ("ConceptDrift", "EstimateOff", "FeatureDrift", "JointDrift", "BadInput", "NoPredictions", "ModelMismatch")
NO_LABELS = "Neither an estimate nor labels yet."
NAMED = f'churnwatch_feature_bin_total{{{RUN},feature="churn",bin=~".*true"}}'
JUDGED = f'churnwatch_feature_bin_total{{{RUN},feature="churn"}}'


def build() -> Any:
    return board(
        "Business",
        "For those who act on the predictions: their worth, their number, and how far they can be trusted.",
        ALERTS,
        [
            Row("", 4, _first()),
            Row("Worth", 9, [(_profit(), 12), (_churn_rate(), 12)]),
            Row("Can it be trusted", 8, [(_quality("recall"), 8), (_quality("precision"), 8), (_calibration(), 8)]),
            Row("Who is predicted", 8, [(_volume(), 8), (_named(), 8), (_probability(), 8)]),
        ],
    )


def _first() -> list[tuple[Any, int]]:
    profit = panels.figure(
        "Profit a day",
        "Gain over contacting nobody, at the newest window's pace, in the contract's currency.",
        [Query(f"churnwatch_profit_per_day{{{RUN}}}", "{{kind}}")],
        unit="short",
        empty="The contract names no values, or no window has closed yet.",
        steps=panels.below(0, AMBER),
    )
    answered = panels.figure(
        "Predictions in a day",
        "Answered by this run in the last 24 hours, by route.",
        [
            Query(
                'sum by (route) (increase(churnwatch_predictions_total{model_run_id="$run",outcome="answered"}[24h]))',
                "{{route}}",
            )
        ],
        unit="locale",
        empty="This run has answered nothing yet.",
        decimals=0,
    )
    named = panels.figure(
        "Predicted to leave",
        "Share of the judged predictions of the last 24 hours at or above the threshold.",
        [Query(f"sum(increase({NAMED}[24h])) / (sum(increase({JUDGED}[24h])) > 0)")],
        unit="percentunit",
        empty="No window has closed in a day.",
        decimals=1,
    )
    auc = panels.figure(
        "AUC",
        "How well leavers are told from those who stay: 0.5 is not at all, 1 is always. Estimated without labels, "
        "realised with.",
        [Query(f"churnwatch_auc{{{RUN}}}", "{{kind}}")],
        unit="none",
        empty=NO_LABELS,
        decimals=3,
    )
    labels = panels.figure(
        "Known outcomes",
        "Share of the newest window with labels whose customers' outcome is known. A small share may be a biased one.",
        [Query(f"churnwatch_label_coverage_ratio{{{RUN}}}")],
        unit="percentunit",
        empty="No labels yet.",
        decimals=0,
    )
    return [(alarms_figure(ALERTS), 4), (profit, 5), (answered, 4), (named, 3), (auc, 5), (labels, 3)]


def _profit() -> Any:
    return panels.lines(
        "Profit a day",
        "Gain over contacting nobody, at each window's pace, in the contract's currency: estimated at once, realised "
        "by the labels that came.",
        [Query(f"churnwatch_profit_per_day{{{RUN}}}", "{{kind}}")],
        unit="short",
        empty="The contract names no values, or no window has closed yet.",
        steps=((None, AMBER), (0, "green")),
        minimum=None,
    )


def _churn_rate() -> Any:
    return panels.lines(
        "Share of customers who leave",
        "Estimated from the probabilities, and realised; with 95 % intervals, dashed.",
        [Query(f'churnwatch_performance{{{RUN},metric="churn_rate"}}', "{{kind}} {{bound}}")],
        unit="percentunit",
        empty=NO_LABELS,
        dashed="/(low|high)$/",
    )


def _quality(metric: str) -> Any:
    meaning = {
        "recall": "Of the customers who leave, the share that was predicted to.",
        "precision": "Of the customers predicted to leave, the share that does.",
    }
    return panels.lines(
        metric.capitalize(),
        f"{meaning[metric]} With 95 % intervals, dashed.",
        [Query(f'churnwatch_performance{{{RUN},metric="{metric}"}}', "{{kind}} {{bound}}")],
        unit="percentunit",
        empty=NO_LABELS,
        dashed="/(low|high)$/",
        maximum=1.0,
    )


def _calibration() -> Any:
    return panels.lines(
        "Trust in the probabilities",
        "Mean distance of probabilities from what came true (calibration error); how far the estimated AUC was off.",
        [
            Query(f'churnwatch_performance{{{RUN},metric="calibration_error",bound="value"}}', "calibration error"),
            Query(f'abs(churnwatch_estimate_error{{{RUN},metric="auc"}})', "estimate of the AUC off by"),
        ],
        unit="none",
        empty="No labels yet.",
        steps=((None, "green"), (0.05, AMBER)),
    )


def _volume() -> Any:
    answered = (
        'sum by (route) (rate(churnwatch_predictions_total{model_run_id="$run",outcome="answered"}[$__rate_interval]))'
    )
    return panels.lines(
        "Predictions an hour",
        "Answered by this run, by route.",
        [Query(f"3600 * {answered}", "{{route}}")],
        unit="short",
        empty="This run has answered nothing yet.",
        stacked=True,
    )


def _named() -> Any:
    return panels.lines(
        "Predicted to leave",
        "Share of the judged predictions of an hour at or above the threshold.",
        [Query(f"sum(increase({NAMED}[1h])) / (sum(increase({JUDGED}[1h])) > 0)", "predicted to leave")],
        unit="percentunit",
        empty="No window has closed in an hour.",
    )


def _probability() -> Any:
    def within(share: float) -> Query:
        buckets = 'sum by (le) (rate(churnwatch_churn_probability_bucket{model_run_id="$run"}[1h]))'
        return Query(f"histogram_quantile({share}, {buckets}) >= 0", f"{share:.0%} of customers below")

    return panels.lines(
        "Churn probabilities",
        "Calibrated, over an hour: half, nine and ninety-nine of a hundred customers are below.",
        [within(0.5), within(0.9), within(0.99)],
        unit="percentunit",
        empty="No prediction in an hour.",
        maximum=1.0,
    )
