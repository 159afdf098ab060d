"""Every metric: name, help, labels. Each class takes its registry, so a test asserts on a fresh one."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

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


class ModelMetrics:
    """Which model a service serves, and whether one that it should serve was refused."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.info = Gauge(
            "churnwatch_model_info",
            "Workers that serve this model now.",
            ["model_run_id", "contract", "contract_hash"],
            registry=registry,
        )
        self.refused = Gauge(
            "churnwatch_model_refused",
            "Workers that refused the model their alias leads to and go on serving the old one: an alarm above 0.",
            registry=registry,
        )
        self.swaps = Counter("churnwatch_model_swaps_total", "Models swapped in while serving.", registry=registry)

    def serves(self, model_run_id: str, contract: str, contract_hash: str) -> None:
        """Only the newest model is told as served."""
        self.info.clear()
        self.info.labels(model_run_id, contract, contract_hash).set(1)


class WebMetrics:
    """What the HTTP service counts beside its answers. `path` is a route's pattern, never what a caller typed."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "churnwatch_http_requests_total",
            "Requests answered, by route and status.",
            ["path", "status"],
            registry=registry,
        )
        self.repeats = Counter(
            "churnwatch_http_repeats_total",
            "Answers given again for an Idempotency-Key or event_id that was there already.",
            registry=registry,
        )


BATCH_BUCKETS = (1, 10, 30, 100, 300, 1_000, 3_000, 10_000)


class StreamMetrics:
    """What the stream service counts, by shard where a shard can be stuck while the others move on."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(f"churnwatch_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, labels: tuple[str, ...] = ("shard",)) -> Gauge:
            return Gauge(f"churnwatch_{name}", text, labels, registry=registry)

        self.records = counter("stream_records_total", "Records read from the input stream.", ("shard",))
        self.bytes = counter("stream_bytes_total", "Bytes of the records read.", ("shard",))
        self.dead_letters = counter("dead_letters_total", "Records set aside, by reason.", ("reason",))
        self.results = counter("stream_results_total", "Answers put on the results stream.")
        self.retries = counter(
            "stream_retries_total", "Calls made again, by what was called and why it failed.", ("call", "cause")
        )
        self.lost_leases = counter("stream_lost_leases_total", "Batches dropped: another worker holds the shard now.")
        self.batch = Histogram(
            "churnwatch_stream_batch_records", "Records scored at once.", buckets=BATCH_BUCKETS, registry=registry
        )
        self.lag_seconds = gauge("stream_lag_seconds", "Age of the oldest record of the shard not yet answered.")
        self.behind = gauge("stream_behind_milliseconds", "MillisBehindLatest of the newest read.")
        self.checkpoint = gauge("stream_checkpoint_timestamp_seconds", "When the shard's checkpoint last moved.")
        self.owned = gauge("stream_shard_owned", "1 for each shard that this worker reads.")
        self.stuck = gauge("stream_shard_stuck", "1 when records wait and the shard has not moved for too long.")

    def forget(self, shard: str) -> None:
        """Drop the gauges of a shard that this worker no longer reads, so that none goes on telling its last value."""
        for gauge in (self.lag_seconds, self.behind, self.checkpoint, self.owned, self.stuck):
            gauge.remove(shard)
