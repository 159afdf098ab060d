from __future__ import annotations

import socket
import threading
from itertools import islice

import pytest

from simulation.customers import Customer
from simulation.senders import Pace, SendError, pauses, send_http
from simulation.traffic import Receipt, make_events


def events(customers: list[Customer]) -> list:
    return list(make_events(customers, prefix="t"))


def problem(status: int, detail: str, **headers: str) -> tuple:
    return status, {"title": "no", "detail": detail}, headers


def test_every_event_is_posted_once_and_its_prediction_is_known(door, twenty: list[Customer]) -> None:
    receipts: list[Receipt] = []

    sent = send_http(events(twenty), door.url, connections=3, on_receipt=receipts.append)

    assert (sent.sent, sent.answered, sent.refused, sent.failed, sent.retries) == (20, 20, 0, 0, 0)
    assert sent.prediction_ids == {f"t-{i:07d}": f"p-t-{i:07d}" for i in range(20)}
    assert {r.event.index: r.prediction_id for r in receipts} == {i: f"p-t-{i:07d}" for i in range(20)}
    assert set(door.predicted.values()) == {1}
    assert len(sent.latencies) == 20
    assert 0 < sent.latency(0.5) <= sent.latency(1.0)


def test_a_record_carries_the_features_the_customer_and_the_event(door, twenty: list[Customer]) -> None:
    send_http(events(twenty[:1]), door.url)

    path, body, headers = door.requests[0]
    expected = {**twenty[0].features, "customer_id": twenty[0].customer_id, "event_id": "t-0000000"}
    assert (path, body, headers["Content-Type"]) == ("/predict", expected, "application/json")
    assert "Authorization" not in headers


def test_a_key_is_sent_as_a_bearer_token(door, twenty: list[Customer]) -> None:
    send_http(events(twenty[:1]), door.url, api_key="secret")

    assert door.requests[0][2]["Authorization"] == "Bearer secret"


def test_events_go_in_lists_when_a_batch_size_is_given(door, twenty: list[Customer]) -> None:
    sent = send_http(events(twenty), door.url, batch=8, connections=1)

    assert [len(body) for _, body, _ in door.requests] == [8, 8, 4]
    assert sent.answered == 20


def test_an_outage_is_tried_again_with_the_same_event_ids(door, twenty: list[Customer]) -> None:
    door.plan = [problem(503, "the journal is full", **{"Retry-After": "0"}), None, problem(429, "slower")]

    sent = send_http(events(twenty), door.url, connections=1)

    assert (sent.answered, sent.failed, sent.retries) == (20, 0, 3)
    assert [body["event_id"] for _, body, _ in door.requests[:4]] == ["t-0000000"] * 4
    assert set(door.predicted.values()) == {1}


def test_what_fails_for_too_long_is_counted_and_the_rest_is_not_sent(door, twenty: list[Customer]) -> None:
    door.plan = [problem(500, "broken")] * 1000
    receipts: list[Receipt] = []

    sent = send_http(events(twenty), door.url, connections=1, retry_seconds=0.2, on_receipt=receipts.append)

    assert (sent.sent, sent.answered, sent.failed) == (1, 0, 1)
    assert sent.problems == [f"{door.url}/predict answered 500: broken"]
    assert [receipt.prediction_id for receipt in receipts] == [None]


def test_a_refused_event_is_counted_and_the_rest_goes_on(door, twenty: list[Customer]) -> None:
    door.plan = [problem(422, "customer_age=7: expected a whole number from 18 to 120")]

    sent = send_http(events(twenty), door.url, connections=1)

    assert (sent.sent, sent.answered, sent.refused, sent.failed) == (20, 19, 1, 0)
    assert "customer_age=7" in sent.problems[0]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_an_address_that_serves_no_predictions_ends_the_run_with_its_own_words(
    door, twenty: list[Customer], status: int
) -> None:
    door.plan = [problem(status, "in its own words")] * 20

    with pytest.raises(SendError, match=f"/predict answered {status}: in its own words"):
        send_http(events(twenty), door.url, connections=2)


def test_a_port_where_nobody_listens_is_a_failure_in_words(twenty: list[Customer]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"

        sent = send_http(events(twenty), url, connections=1, retry_seconds=0.1)

    assert sent.failed == 1
    assert "refused" in sent.problems[0]


def test_a_text_that_is_no_address_is_a_clear_error(twenty: list[Customer]) -> None:
    with pytest.raises(SendError, match="is no address"):
        send_http(events(twenty), "ftp://nowhere", connections=1)


def test_a_run_ends_early_when_told_to(door, twenty: list[Customer]) -> None:
    stop = threading.Event()

    sent = send_http(
        events(twenty), door.url, connections=1, rate=1000, stop=stop, on_receipt=lambda receipt: stop.set()
    )

    assert (sent.sent, sent.answered) == (1, 1)


def test_a_pace_waits_until_an_event_is_due_and_makes_up_for_delays() -> None:
    now = [100.0]
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(round(seconds, 6))
        now[0] += seconds

    pace = Pace(10, clock=lambda: now[0], sleep=sleep)
    for position in range(3):
        pace.wait(position)
    now[0] += 0.15
    pace.wait(3)
    pace.wait(4)

    assert slept == [0.1, 0.1, 0.05]


def test_pauses_grow_to_a_limit() -> None:
    waits = list(islice(pauses(), 10))

    assert all(0.02 <= wait <= 2.0 for wait in waits)
    assert waits[-1] >= 1.0
