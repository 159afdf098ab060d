"""Spans of the stream: one a batch, linked to the traces that its records name.

Kinesis carries no headers, so a sender puts W3C's `traceparent` into the record as a field beside the features: it is
outside the contract, ignored for the answer, counted as such, and looked for only while traces are on. Without it a
batch is found by the ids of its predictions, which derive from `event_id`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from churn import tracing
from stream_service.records import StreamRecord

TRACEPARENT = re.compile(rb'"traceparent"\s*:\s*"(00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2})"')
LINKED = 100
"""A batch is linked to so many of its records' traces."""


def start_stream_tracing() -> None:
    """Call once, before the parts are made."""
    if not tracing.tracing_is_on():
        return
    tracing.start_tracing("stream", tracing.SERVING, {"stream_service.kinesis:Kinesis": ("put",)})
    tracing.wrap("stream_service.pipeline:Pipeline", "prepare", _batch_span)


def _batch_span(call: Callable[..., Any]) -> Callable[..., Any]:
    """One span over the scoring and the effects, which may follow on another thread."""
    from opentelemetry import trace
    from opentelemetry.trace import SpanKind

    tracer = trace.get_tracer("churnwatch")

    def prepare(self: Any, records: Sequence[StreamRecord]) -> Callable[[], None]:
        span = tracer.start_span("Pipeline.carry", kind=SpanKind.CONSUMER, links=_links(records))
        span.set_attribute(f"{tracing.PREFIX}count", len(records))
        with trace.use_span(span, record_exception=False):
            effects = call(self, records)

        def carry() -> None:
            with trace.use_span(span, end_on_exit=True, record_exception=False):
                effects()

        return carry

    return prepare


def _links(records: Sequence[StreamRecord]) -> list[Any]:
    from opentelemetry import trace
    from opentelemetry.propagate import extract

    named = [found[1].decode() for record in records if (found := TRACEPARENT.search(record.data))]
    spans = [trace.get_current_span(extract({"traceparent": one})).get_span_context() for one in named[:LINKED]]
    return [trace.Link(span) for span in spans if span.is_valid]
