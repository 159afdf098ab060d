"""Serving: do clients get answers, fast, from one model, and are those answers kept."""

from __future__ import annotations

from typing import Any

from monitoring.grafana import panels
from monitoring.grafana.board import Row, alarms_figure, board
from monitoring.grafana.panels import AMBER, GREEN, RED, Query

ALERTS = (
    "ServiceDown",
    "HttpErrors",
    "SlowAnswers",
    "JournalOld",
    "RecordsRejected",
    "ModelMismatch",
    "ModelRefused",
    "DiskFull",
    "GatewayDown",
    "CertificateEnds",
)
NO_REQUEST = "No request in five minutes."
DAY_SECONDS = 86_400
SERVED = 'churnwatch_model_info{contract="$contract"} > 0'


def build() -> Any:
    return board(
        "Serving",
        "The HTTP service: answers, errors, latency, the journal behind them, and which model answers.",
        ALERTS,
        [
            Row("", 4, _first()),
            Row("Requests", 9, [(_requests(), 6), (_errors(), 6), (_latency(), 6), (_answers(), 6)]),
            Row(
                "The journal: answers on their way to the log",
                8,
                [(_oldest(), 6), (_waiting(), 6), (_flow(), 6), (_disk(), 6)],
            ),
            Row(
                "Models and the gateway",
                7,
                [(_models(), 9), (_changes(), 5), (_refused(), 3), (_gateway(), 3), (_certificate(), 4)],
            ),
        ],
    )


def _first() -> list[tuple[Any, int]]:
    models = panels.figure(
        "Models at once",
        "Different runs of this contract that the services serve. Two for longer than a deployment is an alarm.",
        [Query(f"count(count by (model_run_id) ({SERVED}))")],
        unit="none",
        empty="No service serves this contract.",
        steps=panels.above(2),
        words={"1": ("one model", GREEN)},
    )
    up = panels.figure(
        "Services",
        "Whether the HTTP and the stream service answer Prometheus. A minute without an answer pages.",
        [Query('min by (job) (up{job=~"web|stream"})', "{{job}}")],
        unit="none",
        empty="Prometheus knows no service.",
        steps=panels.below(1),
        words={"0": ("away", RED), "1": ("answers", GREEN)},
    )
    rate = panels.figure(
        "Requests",
        "Answered by the HTTP service, over five minutes.",
        [Query("churnwatch:http_requests:rate5m")],
        unit="reqps",
        empty=NO_REQUEST,
        decimals=1,
    )
    errors = panels.figure(
        "Errors on our side",
        "Share of requests answered 5xx, over five minutes. One in a hundred pages.",
        [Query("churnwatch:http_errors:ratio5m >= 0")],
        unit="percentunit",
        empty=NO_REQUEST,
        steps=panels.above(0.01),
        decimals=2,
    )
    slow = panels.figure(
        "99 of 100 within",
        "From a record's arrival to its durable answer, over five minutes.",
        [Query('churnwatch:prediction_seconds:p99_5m{route="http"} >= 0')],
        unit="s",
        empty=NO_REQUEST,
        steps=panels.above(0.25, AMBER),
    )
    oldest = panels.figure(
        "Oldest not logged",
        "It is safe on the local disk. Past a minute the store does not take them.",
        [Query("max(churnwatch_journal_oldest_seconds)")],
        unit="s",
        empty="The HTTP service does not answer.",
        steps=panels.above(60),
        decimals=0,
    )
    return [(alarms_figure(ALERTS), 4), (up, 4), (models, 4), (rate, 3), (errors, 3), (slow, 3), (oldest, 3)]


def _requests() -> Any:
    return panels.lines(
        "Requests by status",
        "Every request to every route, /metrics and /health among them.",
        [Query("sum by (status) (rate(churnwatch_http_requests_total[$__rate_interval]))", "{{status}}")],
        unit="reqps",
        empty="The HTTP service does not answer.",
        stacked=True,
    )


def _errors() -> Any:
    return panels.lines(
        "Errors on our side",
        "Share of requests answered 5xx, over five minutes. Past the line, for five minutes, it pages.",
        [Query("churnwatch:http_errors:ratio5m", "5xx")],
        unit="percentunit",
        empty=NO_REQUEST,
        steps=((None, GREEN), (0.01, RED)),
        maximum=0.02,
    )


def _latency() -> Any:
    def within(share: float) -> Query:
        buckets = "sum by (route, le) (rate(churnwatch_prediction_seconds_bucket[$__rate_interval]))"
        return Query(f"histogram_quantile({share}, {buckets}) >= 0", f"{{{{route}}}} {share:.0%}")

    return panels.lines(
        "Time to an answer",
        "From a record's arrival to its durable answer: the median, 95 and 99 of 100. At a quarter second it rings.",
        [within(0.5), within(0.95), within(0.99)],
        unit="s",
        empty="Nothing is asked at the moment.",
        steps=((None, GREEN), (0.25, AMBER)),
    )


def _answers() -> Any:
    outcomes = 'sum by (route, outcome) (rate(churnwatch_predictions_total{model_run_id="$run"}[$__rate_interval]))'
    return panels.lines(
        "Records of this run by outcome",
        "Answered; repeated, so answered before; or why they were refused: that is the sender's to mend.",
        [Query(outcomes, "{{route}} {{outcome}}")],
        unit="cps",
        empty="This run has answered nothing yet.",
    )


def _oldest() -> Any:
    return panels.lines(
        "Oldest answer not in the log",
        "Age by instance. It is safe on the local disk; past the line, a minute, the store does not take them.",
        [Query("max by (instance) (churnwatch_journal_oldest_seconds)", "{{instance}}")],
        unit="s",
        empty="The HTTP service does not answer.",
        steps=((None, GREEN), (60, RED)),
    )


def _waiting() -> Any:
    return panels.lines(
        "Answers that wait",
        "Records on the local disk and not yet in the store. They grow while the store is away.",
        [Query("sum(churnwatch_journal_waiting)", "records")],
        unit="short",
        empty="The HTTP service does not answer.",
    )


def _flow() -> Any:
    def a_second(what: str) -> Query:
        return Query(f"sum(rate(churnwatch_journal_{what}_total[$__rate_interval]))", what)

    accepted, rejected = a_second("accepted"), a_second("rejected")  # reasons appear with the first rejection
    return panels.lines(
        "Accepted, stored, rejected",
        "Accepted is stored, waiting or rejected, always. Rejected are records that the store can never take.",
        [accepted, a_second("stored"), Query(f"{rejected.expr} or 0 * {accepted.expr}", "rejected")],
        unit="cps",
        empty="The HTTP service does not answer.",
    )


def _disk() -> Any:
    return panels.lines(
        "Free disk",
        "Of the journal's disk and of the watch's. Below a tenth it rings; with none, answers are 503.",
        [Query("churnwatch_disk_free_bytes / churnwatch_disk_size_bytes", "{{job}} {{folder}}")],
        unit="percentunit",
        empty="No service answers.",
        steps=((None, RED), (0.1, GREEN)),
        maximum=1.0,
    )


def _models() -> Any:
    return panels.rows(
        "Who serves what",
        "Each service's run and contract as it is now; a rolling restart shows two for a while.",
        [Query(f"sum by (job, instance, model_run_id, contract_hash) ({SERVED})", "Workers")],
        unit="none",
        empty="No service serves this contract.",
        columns={"job": "Service", "instance": "At", "model_run_id": "Run", "contract_hash": "Contract's hash"},
    )


def _changes() -> Any:
    return panels.lines(
        "Swaps",
        "Models swapped in while serving, in an hour.",
        [Query("sum by (job) (increase(churnwatch_model_swaps_total[1h]))", "{{job}}")],
        unit="none",
        empty="No service answers.",
    )


def _refused() -> Any:
    return panels.figure(
        "Refusals",
        "Workers that refuse the model that their alias leads to, and serve the one before. One pages.",
        [Query("sum by (job) (churnwatch_model_refused)", "{{job}}")],
        unit="none",
        empty="No service answers.",
        steps=panels.above(1),
        words={"0": ("none", GREEN)},
    )


def _gateway() -> Any:
    return panels.figure(
        "Gateway",
        "Whether the gateway at WATCH_GATEWAY answers the watch. Two minutes without an answer page.",
        [Query("churnwatch_gateway_up", "{{address}}")],
        unit="none",
        empty="WATCH_GATEWAY is not set, so no gateway is looked at.",
        steps=panels.below(1),
        words={"0": ("away", RED), "1": ("answers", GREEN)},
    )


def _certificate() -> Any:
    return panels.figure(
        "Certificate ends in",
        "The one that the gateway shows at WATCH_GATEWAY. From 14 days on it rings.",
        [Query("churnwatch_certificate_end_timestamp_seconds - time()", "{{address}}")],
        unit="s",
        empty="WATCH_GATEWAY is not set, so no certificate is looked at.",
        steps=panels.below(14 * DAY_SECONDS, AMBER),
    )
