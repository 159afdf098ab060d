"""One /metrics for several workers: counters of the dead stay, their gauges go, and reading flushes what is pending."""

from __future__ import annotations

from pathlib import Path

import orjson
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families

from web_service.totals import WorkerTotals

NO_PROCESS = 2**22 + 1
"""Above the largest process id that Linux gives."""


def registry(count: int, gauge: float, seconds: list[float]) -> CollectorRegistry:
    made = CollectorRegistry()
    Counter("asked_total", "Requests.", ["path"], registry=made).labels("/predict").inc(count)
    Gauge("serving", "Workers.", registry=made).set(gauge)
    histogram = Histogram("took_seconds", "Time.", buckets=(0.1, 1), registry=made)
    for value in seconds:
        histogram.observe(value)
    return made


def told(text: bytes) -> dict[str, float]:
    samples = [s for family in text_string_to_metric_families(text.decode()) for s in family.samples]
    return {s.name + "".join(f"{{{value}}}" for value in s.labels.values()): s.value for s in samples}


def another_worker(folder: Path, pid: int, made: CollectorRegistry) -> None:
    totals = WorkerTotals(made, folder)
    totals._file = folder / f"{pid}.metrics.json"
    totals.write()
    totals._file.write_bytes(orjson.dumps(orjson.loads(totals._file.read_bytes()) | {"pid": pid}))


def test_counters_and_histograms_add_up_and_gauges_of_the_living(tmp_path: Path) -> None:
    another_worker(tmp_path, 1, registry(5, 1, [0.05]))
    another_worker(tmp_path, NO_PROCESS, registry(7, 1, [0.5, 5]))

    sums = told(WorkerTotals(registry(2, 1, [0.05]), tmp_path).render())

    assert sums["asked_total{/predict}"] == 14
    assert sums["serving"] == 2
    assert sums["took_seconds_bucket{0.1}"] == 2
    assert sums["took_seconds_bucket{1.0}"] == 3
    assert sums["took_seconds_bucket{+Inf}"] == sums["took_seconds_count"] == 4


def test_of_times_the_oldest_of_the_living_is_told(tmp_path: Path) -> None:
    def since(seconds: float) -> CollectorRegistry:
        made = CollectorRegistry()
        Gauge("served_since_timestamp_seconds", "When.", registry=made).set(seconds)
        return made

    another_worker(tmp_path, 1, since(200))
    another_worker(tmp_path, NO_PROCESS, since(100))

    assert told(WorkerTotals(since(300), tmp_path).render())["served_since_timestamp_seconds"] == 200


def test_what_is_counted_for_the_host_is_told_as_it_is(tmp_path: Path) -> None:
    of_the_host = [GaugeMetricFamily("waiting", "Records.", value=3)]
    another_worker(tmp_path, 1, registry(0, 0, []))

    assert told(WorkerTotals(registry(0, 0, []), tmp_path, lambda: of_the_host).render())["waiting"] == 3


def test_reading_flushes_first(tmp_path: Path) -> None:
    made = CollectorRegistry()
    counter = Counter("asked_total", "Requests.", registry=made)

    assert told(WorkerTotals(made, tmp_path, flush=counter.inc).render())["asked_total"] == 1
