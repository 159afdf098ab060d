"""Traces and log lines of the real service, read by a real collector and from its real output."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from churn.bundle import Bundle
from tests.fakes import random_customers, records
from tests.otlp_receiver import attributes, receiver
from tests.services import web_service

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
MARK = "Marker-of-a-person-4711"


@pytest.fixture(scope="module")
def customers(bundle: Bundle) -> list[dict[str, Any]]:
    return records(random_customers(bundle.contract, 4, seed=8), bundle.contract)


def post(url: str, body: Any, **headers: str) -> tuple[int, dict[str, str], Any]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, {k.lower(): v for k, v in error.headers.items()}, json.load(error)


def test_a_request_continues_its_callers_trace_down_to_the_journal_and_the_store(
    bundle: Bundle, tmp_path: Path, customers: list[dict[str, Any]]
) -> None:
    sent = {"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Request-Id": "order-17"}
    with receiver() as collector:
        with web_service(bundle, tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=collector.address) as address:
            _, headers, alone = post(f"{address}/predict", customers[0], **sent)
            _, _, listed = post(f"{address}/predict", customers[:3], **sent)
        collector.wait_for(lambda: len(collector.named("POST /predict")) == 2)
        collector.wait_for(lambda: bool(collector.named("SqliteStore.save")))

    spans = sorted(collector.named("POST /predict"), key=lambda span: span.start_time_unix_nano)
    assert headers["x-request-id"] == "order-17"
    for span, ids in zip(spans, ([alone["prediction_id"]], [one["prediction_id"] for one in listed]), strict=True):
        assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
        told = attributes(span)
        assert (told["http.response.status_code"], told["churnwatch.request_id"]) == (200, "order-17")
        assert told["churnwatch.prediction_ids"] == ids
    below = {span.parent_span_id: span for span in collector.named("PredictionService.predict")}
    assert {span.span_id for span in spans} == set(below)
    answering = {span.span_id for span in below.values()}
    for name in ("Journal.append", "Scorer.score"):
        assert {span.parent_span_id for span in collector.named(name)} == answering, name
    stored = map(attributes, collector.named("SqliteStore.save"))
    saved = {one for told in stored for one in told["churnwatch.prediction_ids"]}
    assert {alone["prediction_id"], *(one["prediction_id"] for one in listed)} <= saved
    assert {service for service, _ in collector.spans} == {"churnwatch-web"}
    assert str(customers[0]["total_trans_amt"]) not in str(collector.spans)


def test_off_nothing_of_it_is_imported_and_nothing_is_wrapped() -> None:
    script = (
        "import sys, web_service.worker as worker; from churn.scoring import Scorer; before = Scorer.score_prepared\n"
        "worker.start_web_tracing(); assert Scorer.score_prepared is before\n"
        "front = object(), object(); assert worker.observed(*front, False) == front\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)

    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_log_lines_name_requests_and_predictions_and_no_person(
    bundle: Bundle, tmp_path: Path, customers: list[dict[str, Any]]
) -> None:
    good = {**customers[0], "customer_id": MARK, "event_id": f"event-{MARK}"}
    looking = {"LOG_FORMAT": "json", "LOG_LEVEL": "debug", "LOG_REQUESTS": "true"}
    with web_service(bundle, tmp_path, **looking) as address:
        status, _, answer = post(f"{address}/predict", good, **{"X-Request-Id": "order-17"})
        assert status == 200
        assert post(f"{address}/predict", [good, {**good, next(iter(customers[0])): MARK}])[0] == 422
        assert post(f"{address}/predict", {"customer_id": [MARK]}, **{"X-Request-Id": f"a b\t{MARK}"})[0] == 422
        assert post(f"{address}/feedback", {"customer_id": MARK, "churned": MARK})[0] == 422
        assert post(f"{address}/predict/by-id", {"customer_id": MARK})[0] == 404
        assert post(f"{address}/explain", {**good, "customer_age": MARK})[0] == 422
    text = (tmp_path / "log").read_text()
    lines = [json.loads(line) for line in text.splitlines()]

    assert MARK not in text
    assert all({"timestamp", "level", "room", "event"} <= set(line) for line in lines)
    asked = [line for line in lines if line["event"] == "request" and line["method"] == "POST"]
    assert [line["status"] for line in asked] == [200, 422, 422, 422, 404, 422]
    assert (asked[0]["request_id"], asked[0]["prediction_ids"]) == ("order-17", [answer["prediction_id"]])
    assert len({line["request_id"] for line in asked}) == 6
