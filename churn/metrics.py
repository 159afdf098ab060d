"""Every metric: name, help, labels. Each class takes its registry, so a test asserts on a fresh one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

disable_created_metrics()

PROBABILITY_BUCKETS = tuple(round(0.05 * step, 2) for step in range(1, 20))
LATENCY_SECONDS_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class AnswerMetrics:
    """What both doors count: answers by route, model and outcome, their time and their probabilities."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.predictions = Counter(
            "churnwatch_predictions_total",
            "Records by route, model and outcome: answered, repeated (answered before), or why they were refused.",
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
        self.since = Gauge(
            "churnwatch_model_served_since_timestamp_seconds",
            "When the longest serving worker began to serve this model: a deployment or a swap.",
            ["model_run_id", "contract"],
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
        self.since.clear()
        self.since.labels(model_run_id, contract).set_to_current_time()
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


class DiskMetrics:
    """Room on the disks of folders, by the folder's name here. Asked for at every scrape."""

    def __init__(self, registry: CollectorRegistry, folders: Mapping[str, Path] | None = None) -> None:
        self.free = Gauge("churnwatch_disk_free_bytes", "Free on the folder's disk.", ["folder"], registry=registry)
        self.size = Gauge("churnwatch_disk_size_bytes", "Size of the folder's disk.", ["folder"], registry=registry)
        for name, folder in (folders or {}).items():
            self.free.labels(name).set_function(partial(_disk, folder, "free"))
            self.size.labels(name).set_function(partial(_disk, folder, "total"))


def _disk(folder: Path, what: str) -> float:
    """Of the nearest folder above that exists: ours may not have been made yet."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return float(getattr(shutil.disk_usage(there), what))


def journal_families(
    *,
    accepted: int,
    stored: int,
    repeated: int,
    waiting: int,
    waiting_bytes: int,
    oldest_seconds: float,
    rejected: Mapping[str, int],
) -> list[Metric]:
    """The journal's counts of a whole host, living and dead workers: accepted = stored + waiting + rejected, always."""

    def counter(name: str, text: str, value: float) -> CounterMetricFamily:
        return CounterMetricFamily(f"churnwatch_journal_{name}", text, value=value)

    def gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"churnwatch_journal_{name}", text, value=value)

    refused = CounterMetricFamily(
        "churnwatch_journal_rejected", "Records that the store can never take, set aside, by reason.", labels=["reason"]
    )
    for reason, count in rejected.items():
        refused.add_metric([reason], count)
    return [
        counter("accepted", "Answers made durable, so given.", accepted),
        counter("stored", "Records that the store acknowledged.", stored),
        counter("repeated", "Of the stored, those that it had already.", repeated),
        refused,
        gauge("waiting", "Records on the local disk, not yet in the store.", waiting),
        gauge("waiting_bytes", "Bytes of these records.", waiting_bytes),
        gauge("oldest_seconds", "Age of the oldest of these records.", oldest_seconds),
    ]


BATCH_BUCKETS = (1, 10, 30, 100, 300, 1_000, 3_000, 10_000)


def observe_many(histogram: Histogram, values: Sequence[float]) -> None:
    """As `observe` of each value, at a twentieth of the cost a value: a batch takes one increment a bucket.

    Reaches into the library's counters, which have no such call; a test compares both ways.
    """
    if not values:
        return
    bounds = histogram._upper_bounds
    counts = np.bincount(np.searchsorted(bounds, values, side="left"), minlength=len(bounds))
    for bucket, count in zip(histogram._buckets, counts.tolist(), strict=True):
        if count:
            bucket.inc(count)
    histogram._sum.inc(float(np.sum(values)))


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
        self.behind = gauge("stream_behind_seconds", "How far the newest read was behind the tip, as Kinesis says.")
        self.checkpoint = gauge("stream_checkpoint_timestamp_seconds", "When the shard's checkpoint last moved.")
        self.owned = gauge("stream_shard_owned", "1 for each shard that this worker reads.")
        self.stuck = gauge("stream_shard_stuck", "1 when records wait and the shard has not moved for too long.")

    def forget(self, shard: str) -> None:
        """Drop the gauges of a shard that this worker no longer reads, so that none goes on telling its last value."""
        for gauge in (self.lag_seconds, self.behind, self.checkpoint, self.owned, self.stuck):
            gauge.remove(shard)


class SnapshotGauge(Collector):
    """A gauge whose series are replaced all at once: none of a retired run lingers, and no scrape sees half of them."""

    _type = "gauge"

    def __init__(self, name: str, documentation: str, labels: tuple[str, ...], registry: CollectorRegistry) -> None:
        self._name = name
        self._documentation = documentation
        self._labelnames = labels
        self._series: Mapping[tuple[str, ...], float] = {}
        registry.register(self)

    def show(self, series: Mapping[tuple[str, ...], float]) -> None:
        """Take label values -> value as what is shown from now on."""
        self._series = dict(series)

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Its name, so that a registry refuses a second one."""
        yield GaugeMetricFamily(self._name, self._documentation, labels=self._labelnames)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(self._name, self._documentation, labels=self._labelnames)
        for labels, value in self._series.items():
            family.add_metric(labels, value)
        yield family


class WatchMetrics:
    """What the watch says of the newest judged window of each contract and run. Feature is a column, or the score."""

    def __init__(self, registry: CollectorRegistry) -> None:
        run = ("contract", "model_run_id")

        def gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> SnapshotGauge:
            return SnapshotGauge(f"churnwatch_{name}", text, (*run, *labels), registry)

        self.purged = Counter(
            "churnwatch_predictions_purged_total",
            "Logged predictions deleted since they were older than the contract's retention.",
            ("contract",),
            registry=registry,
        )
        self.window_rows = gauge("window_rows", "Predictions in the newest judged window.")
        self.window_end = gauge("window_end_timestamp_seconds", "End of the newest judged window.")
        self.window_state = gauge(
            "window_state", "1 for the state it is in: ok, insufficient, stale or broken.", ("state",)
        )
        self.reference_rows = gauge("reference_rows", "Rows of the reference that windows are compared with.")
        self.drift_score = gauge(
            "feature_drift_score",
            "How far a column has moved: js_distance, psi, effect (js_distance less what sampling brings), the "
            "deciding test's statistic, or Evidently's score as evidently:METHOD.",
            ("feature", "method"),
        )
        self.drift_p_value = gauge(
            "feature_drift_p_value", "Chance of such a move by sampling, corrected over all tests.", ("feature",)
        )
        self.drift_threshold = gauge("feature_drift_threshold", "The p-value at or below which a column drifts.")
        self.drift_minimum_effect = gauge("feature_drift_minimum_effect", "The smallest effect that counts as drift.")
        self.drift_alarm = gauge("feature_drift_alarm", "1 when the column drifted in this window.", ("feature",))
        self.missing_ratio = gauge("feature_missing_ratio", "Share of rows without a value.", ("feature",))
        self.unknown_ratio = gauge("feature_unknown_ratio", "Share of rows with an unknown level.", ("feature",))
        self.invalid_ratio = gauge("feature_invalid_ratio", "Share of rows with an impossible value.", ("feature",))
        self.out_of_range_ratio = gauge(
            "feature_out_of_range_ratio", "Share of rows outside the reference's range.", ("feature",)
        )
        self.quality_alarm = gauge(
            "feature_quality_alarm", "1 when the column failed the check in this window.", ("feature", "check")
        )
        self.quality_threshold = gauge(
            "feature_quality_threshold",
            "The share above which the check fails: the reference's own and a tolerance.",
            ("feature", "check"),
        )
        self.importance = gauge(
            "feature_importance_ratio", "Share of the feature in the model's decisions (mean |SHAP|).", ("feature",)
        )
        self.bin_reference_ratio = gauge(
            "feature_bin_reference_ratio", "Share of the reference in a bin of a column.", ("feature", "bin")
        )
        self.alarm = gauge(
            "alarm",
            "1 for each cause that rings: it lasted as many windows as the policy asks.",
            ("feature", "check", "severity"),
        )
        self.run_retired = gauge(
            "run_retired", "1 when the run has long been silent while another answers: nothing of it rings."
        )
        self.auc = gauge("auc", "Area under the ROC curve: realised by labels, or estimated without.", ("kind",))
        self.performance = gauge(
            "performance",
            "A figure of the model (recall, precision, f1, log_loss, calibration_error, churn_rate, auc), realised or "
            "estimated, with the ends of its 95 % interval.",
            ("metric", "kind", "bound"),
        )
        self.profit_per_day = gauge(
            "profit_per_day",
            "Gain over contacting nobody, in the contract's currency, at the window's pace.",
            ("kind",),
        )
        self.label_coverage = gauge("label_coverage_ratio", "Share of the realised window that has labels.")
        self.estimate_error = gauge(
            "estimate_error", "Estimated less realised, of the newest window that has both.", ("metric",)
        )
        self.concept_drift = gauge("concept_drift_alarm", "1 when the share of wrong decisions rose (ADWIN).")
        self.joint_auc = gauge(
            "joint_drift_auc", "How well trees tell the window from the reference; 0.5 is not at all."
        )
        self.joint_p_value = gauge(
            "joint_drift_p_value",
            "Chance of such a difference, by any of the tests, where features go together as before.",
        )
        self.joint_alarm = gauge("joint_drift_alarm", "1 when features go together otherwise than in the reference.")
        self.bins = Counter(
            "churnwatch_feature_bin_total",
            "Predictions of judged windows by bin of a column; adds up over watches and time.",
            [*run, "feature", "bin"],
            registry=registry,
        )
        self.windows = Counter(
            "churnwatch_windows_judged_total", "Windows judged, by state.", [*run, "state"], registry=registry
        )
        self.gateway_up = Gauge(
            "churnwatch_gateway_up", "1 when the gateway answers by TLS.", ["address"], registry=registry
        )
        self.certificate_end = Gauge(
            "churnwatch_certificate_end_timestamp_seconds",
            "When the certificate that the gateway shows ends.",
            ["address"],
            registry=registry,
        )
        self.last_poll = Gauge(
            "churnwatch_watch_last_poll_timestamp_seconds",
            "When the watch last looked for closed windows, with success.",
            registry=registry,
        )
        self.poll_failures = Counter(
            "churnwatch_watch_poll_failures_total",
            "Polls that failed: the store could not be reached.",
            registry=registry,
        )
