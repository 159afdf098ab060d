"""Log lines in both forms, without what an exception says; and names of spans that exist."""

from __future__ import annotations

import errno
import importlib
import io
import json
import logging
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import structlog

from churn import tracing
from churn.errors import SettingError
from churn.logs import LibraryLines, configure_logs, without_messages
from orchestration.__main__ import TRACKING
from stream_service import traces
from web_service import observed
from web_service.request_ids import request_id

ODD = """
import gc, threading, warnings
from churn.logs import configure_logs
configure_logs("watch")
warnings.warn("an odd shape", RuntimeWarning)
class Odd:
    def __del__(self): int("Ann Smith")
Odd()
gc.collect()
thread = threading.Thread(target=int, args=("Ann Smith",), name="sums")
thread.start(); thread.join()
open("/nowhere/ann-smith")
"""


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    hooks = sys.excepthook, sys.unraisablehook, threading.excepthook
    yield
    structlog.reset_defaults()
    sys.excepthook, sys.unraisablehook, threading.excepthook = hooks


def test_a_line_of_json_begins_with_when_how_grave_where_and_what(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_FORMAT", "json")
    out = io.StringIO()
    configure_logs("watch", out)
    with structlog.contextvars.bound_contextvars(request_id="r"):
        structlog.get_logger().warning("window_waits", window="w", rows=3)

    line = json.loads(out.getvalue())
    assert list(line)[:4] == ["timestamp", "level", "room", "event"]
    assert line["timestamp"].endswith("Z")
    assert {k: line[k] for k in ("level", "room", "event", "window", "rows", "request_id")} == {
        **{"level": "warning", "room": "watch", "event": "window_waits"},
        **{"window": "w", "rows": 3, "request_id": "r"},
    }


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_crash_tells_its_type_and_places_and_not_what_was_read(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_FORMAT", form)
    out = io.StringIO()
    configure_logs("web", out)
    try:
        int("Ann Smith")
    except ValueError:
        structlog.get_logger().exception("request_crashed", path="/predict")
        record = logging.LogRecord("lib", logging.ERROR, "f", 1, "it failed", (), sys.exc_info())
        LibraryLines().emit(record)

    assert "Ann" not in out.getvalue()
    assert out.getvalue().count("ValueError") == 2
    assert "test_logs_and_traces.py" in out.getvalue()
    assert "\x1b" not in out.getvalue()


@pytest.mark.parametrize(
    ("error", "given", "reason"),
    [
        (PermissionError(errno.EACCES, "no", "/home/ann-smith"), {}, "Permission denied"),
        (PermissionError(errno.EACCES, "no"), {"reason": "the journal is not ours"}, "the journal is not ours"),
        (ssl.SSLError(1, "certificate of Ann Smith"), {}, None),  # a number of its own
        (OSError("Ann", "Smith"), {}, None),
        (ValueError("Ann Smith"), {}, None),
    ],
)
def test_a_crash_of_the_system_says_which(error: Exception, given: dict[str, str], reason: str | None) -> None:
    told = without_messages(None, "error", {**given, "exc_info": error})

    assert told.get("reason") == reason
    assert "smith" not in str(told).lower()


def test_what_nobody_catches_and_what_libraries_warn_of_are_lines_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_FORMAT", "json")
    done = subprocess.run([sys.executable, "-c", ODD], capture_output=True, text=True, check=False)
    warned, ignored, thread, process = (json.loads(line) for line in done.stderr.splitlines())

    assert done.returncode == 1
    assert (warned["level"], warned["library"]) == ("warning", "py.warnings")
    assert "RuntimeWarning: an odd shape" in warned["event"]
    assert (ignored["event"], ignored["of"], ignored["crash"]) == ("exception_ignored", "function", "ValueError")
    assert (thread["event"], thread["thread"], thread["crash"]) == ("thread_crashed", "sums", "ValueError")
    assert (process["event"], process["crash"]) == ("process_crashed", "FileNotFoundError")
    assert process["reason"] == "No such file or directory"
    assert "smith" not in done.stderr.lower()


def test_lines_below_the_level_are_left_out_and_a_wrong_format_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_LEVEL", "error")
    out = io.StringIO()
    configure_logs("web", out)
    structlog.get_logger().warning("unheard")
    monkeypatch.setenv("LOG_FORMAT", "xml")

    assert out.getvalue() == ""
    with pytest.raises(SettingError, match="LOG_FORMAT=xml"):
        configure_logs("web", out)


@pytest.mark.integration  # imports MLflow
def test_every_method_that_is_to_be_a_span_exists() -> None:
    groups = [tracing.STORE, tracing.MLFLOW, tracing.FEATURES, tracing.SERVING, observed.SPANNED, TRACKING]
    groups += [{"monitoring.watch:Watch": ("poll",)}, {"reporting.maker:Maker": ("make", "catch_up", "write_index")}]
    groups += [{"stream_service.kinesis:Kinesis": ("put",), "stream_service.pipeline:Pipeline": ("prepare",)}]
    groups += [{"web_service.bridge:WSGIBridge": ("answer",)}]

    for group in groups:
        for place, methods in group.items():
            module, _, name = place.partition(":")
            owner = getattr(importlib.import_module(module), name)
            assert all(callable(getattr(owner, method)) for method in methods), place


def test_a_record_names_its_trace_by_a_field() -> None:
    data = b'{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "age": 3}'

    found = traces.TRACEPARENT.search(data)
    assert found is not None
    assert found[1].startswith(b"00-4bf9")
    assert traces.TRACEPARENT.search(b'{"traceparent": "nonsense"}') is None


def test_a_callers_name_for_a_request_is_kept_where_it_is_sound() -> None:
    assert request_id("order-17/retry=2") == "order-17/retry=2"
    for sent in (None, "", "two words", "line\nbreak", "x" * 129, "ä"):
        assert request_id(sent) != sent
        assert len(request_id(sent)) == 32
