"""OpenTelemetry traces, on by OTEL_EXPORTER_OTLP_ENDPOINT alone. The only home of its SDK, imported when on.

Off costs nothing: no import, no wrapper, no question on any path. On, the methods that a room names are wrapped once,
at its start, each call a span; the SDK's own variables (OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER, …) hold. A span tells
counts, ids of predictions and of the run, and never a customer or a value.
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from churn.errors import SettingError

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
PREFIX = "churnwatch."
IDS_SHOWN = 20
"""A span of a batch names so many of its predictions."""

Named = Mapping[str, Iterable[str]]
"""`module:Class` and the methods of it that are spans."""

SERVING: Named = {
    "churn.journal.writer:Journal": ("append",),
    "churn.scoring:Scorer": ("score", "score_prepared"),
}
STORE: Named = {
    f"churn.store.{module}:{name}": (
        *("check", "save", "get", "get_many", "count", "runs", "purge", "label", "put_customers", "customer"),
        *("put_document", "document", "documents"),
    )
    for module, name in (("sqlite", "SqliteStore"), ("mongo", "MongoStore"))
}
MLFLOW: Named = {"churn.registry:Registry": ("check", "resolve", "download", "versions")}
FEATURES: Named = {"churn.feature_store:FeatureStore": ("latest", "manifest", "read", "write")}


def tracing_is_on() -> bool:
    return bool(os.environ.get(ENDPOINT)) and os.environ.get("OTEL_SDK_DISABLED", "").lower() != "true"


def start_tracing(room: str, *named: Named) -> None:
    """When on, send spans of this process and wrap the methods named; else do nothing. Once a process, before its
    parts are made. Raises SettingError when the extra `otel` is not installed."""
    if not tracing_is_on():
        return
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        wanted = "the extra `otel` to be installed (requirements/otel.txt), or no value"
        raise SettingError(ENDPOINT, os.environ[ENDPOINT], wanted) from error
    given = {} if "OTEL_SERVICE_NAME" in os.environ else {SERVICE_NAME: f"churnwatch-{room}"}
    provider = TracerProvider(resource=Resource.create(given))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    for group in (STORE, MLFLOW, *named):
        for place, methods in group.items():
            for method in methods:
                wrap(place, method, spanned(place, method))


def stop_tracing() -> None:
    """Send what waits, where a process ends without Python's own farewell."""
    if not tracing_is_on():
        return
    from opentelemetry import trace

    getattr(trace.get_tracer_provider(), "shutdown", lambda: None)()


def wrap(place: str, method: str, wrapper: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Replace a method of a class by its wrapper, for good."""
    module, _, name = place.partition(":")
    owner = getattr(importlib.import_module(module), name)
    setattr(owner, method, functools.wraps(getattr(owner, method))(wrapper(getattr(owner, method))))


def spanned(place: str, method: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A wrapper that makes each call a span below the present one."""
    from opentelemetry import trace

    tracer, name = trace.get_tracer("churnwatch"), f"{place.partition(':')[2]}.{method}"

    def wrapper(call: Callable[..., Any]) -> Callable[..., Any]:
        def traced(*arguments: Any, **options: Any) -> Any:
            # Not the exception itself: its message may quote what was being read.
            with tracer.start_as_current_span(name, record_exception=False, set_status_on_exception=False) as span:
                try:
                    answer = call(*arguments, **options)
                except BaseException as error:
                    fail(span, error)
                    raise
                span.set_attributes(facts(answer) or (facts(arguments[1]) if len(arguments) > 1 else {}))
                return answer

        return traced

    return wrapper


def fail(span: Any, error: BaseException) -> None:
    from opentelemetry.trace import StatusCode

    span.set_status(StatusCode.ERROR, type(error).__name__)
    span.set_attribute("error.type", type(error).__name__)


def facts(answer: Any) -> dict[str, Any]:
    """What a span says of an answer, or of what was given: how many, which predictions, by which run."""
    found = answer if isinstance(answer, list | tuple) else list(answer.values()) if isinstance(answer, dict) else []
    told: dict[str, Any] = {f"{PREFIX}count": len(found)} if found else {}
    ids = [one.prediction_id for one in found[:IDS_SHOWN] if hasattr(one, "prediction_id")]
    if ids:
        told[f"{PREFIX}prediction_ids"] = ids
        told[f"{PREFIX}model_run_id"] = next((o.model_run_id for o in found if hasattr(o, "model_run_id")), "")
    return told
