"""A batch counts as its values one by one would."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.exposition import generate_latest

from churn.metrics import LATENCY_SECONDS_BUCKETS, observe_many

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
