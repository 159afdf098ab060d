"""A batch counts as its values one by one would; disks and deployments tell of now."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.exposition import generate_latest

from churn.metrics import LATENCY_SECONDS_BUCKETS, DiskMetrics, ModelMetrics, observe_many

BOUNDS = st.sampled_from([*LATENCY_SECONDS_BUCKETS, 0.0, 11.0])


@given(st.lists(st.floats(0.0, 100.0).map(lambda value: round(value, 3)) | BOUNDS, max_size=50))
def test_a_batch_counts_as_its_values_one_by_one(values: list[float]) -> None:
    one_by_one, together = CollectorRegistry(), CollectorRegistry()
    first = Histogram("seconds", "Seconds.", ["route"], buckets=LATENCY_SECONDS_BUCKETS, registry=one_by_one)
    second = Histogram("seconds", "Seconds.", ["route"], buckets=LATENCY_SECONDS_BUCKETS, registry=together)
    child = first.labels("stream")
    for value in values:
        child.observe(value)

    observe_many(second.labels("stream"), values)

    def lines(registry: CollectorRegistry) -> list[bytes]:
        return [line for line in generate_latest(registry).splitlines() if b"_sum" not in line]

    assert lines(together) == lines(one_by_one)
    sums = [registry.get_sample_value("seconds_sum", {"route": "stream"}) for registry in (one_by_one, together)]
    assert abs((sums[0] or 0) - (sums[1] or 0)) < 1e-9


def test_the_disk_of_a_folder_that_is_not_there_yet_is_that_of_the_one_above(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    DiskMetrics(registry, {"journal": tmp_path / "not" / "yet"})
    size = registry.get_sample_value("churnwatch_disk_size_bytes", {"folder": "journal"})
    free = registry.get_sample_value("churnwatch_disk_free_bytes", {"folder": "journal"})

    assert size == shutil.disk_usage(tmp_path).total
    assert 0 < (free or 0) <= size


def test_a_swap_begins_a_new_time_of_serving_and_leaves_none_of_the_old_model() -> None:
    registry = CollectorRegistry()
    metrics = ModelMetrics(registry)
    metrics.serves("a" * 32, "credit_card", "h1")
    before = time.time()
    metrics.serves("b" * 32, "credit_card", "h1")
    name = "churnwatch_model_served_since_timestamp_seconds"
    new = registry.get_sample_value(name, {"model_run_id": "b" * 32, "contract": "credit_card"})

    assert registry.get_sample_value(name, {"model_run_id": "a" * 32, "contract": "credit_card"}) is None
    assert before <= (new or 0) <= time.time()
