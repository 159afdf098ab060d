"""Every metric: name, help, labels. Each class takes its registry, so a test asserts on a fresh one."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics

disable_created_metrics()

PROBABILITY_BUCKETS = tuple(round(0.05 * step, 2) for step in range(1, 20))
LATENCY_SECONDS_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class AnswerMetrics:
    """What both doors count: answers by route, model and outcome, their time and their probabilities."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.predictions = Counter(
            "churnwatch_predictions_total",
            "Records answered, by route, model and outcome (answered, or the reason of refusal).",
            ["route", "model_run_id", "outcome"],
            registry=registry,
        )
        self.seconds = Histogram(
            "churnwatch_prediction_seconds",
            "Time from a record's arrival to its durable answer.",
            ["route"],
            buckets=LATENCY_SECONDS_BUCKETS,
            registry=registry,
        )
        self.probability = Histogram(
            "churnwatch_churn_probability",
            "Calibrated churn probabilities answered.",
            ["route", "model_run_id"],
            buckets=PROBABILITY_BUCKETS,
            registry=registry,
        )
