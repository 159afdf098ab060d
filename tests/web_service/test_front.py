"""The front gives Flask's own bytes for every request, groups those that meet, and hands on what is not plain."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from churn.errors import JournalFull
from churn.metrics import WebMetrics
from tests.web_service.connection import Answer, Door, post, request
from web_service.front import Groups, ThreadGroups
from web_service.gate import Gate
from web_service.heads import read_head

JSON = "application/json"


@pytest.fixture
def web_metrics() -> WebMetrics:
    return WebMetrics(CollectorRegistry())


@pytest.fixture
def door(service: Any, make_app: Any, web_metrics: WebMetrics) -> Iterator[Door]:
    door = Door(service, make_app(), web_metrics)
    yield door
    door.threads.shutdown()


def ask(door: Door, *requests: bytes) -> list[Answer]:
    """Each over a connection of its own, at the same time."""

    async def all_at_once() -> list[Answer]:
        return await door.ask_all(requests)

    return asyncio.run(all_at_once())


def test_both_ways_give_equal_bytes(door: Door, make_app: Any, customer: dict[str, Any], monkeypatch: Any) -> None:
    """Every kind of body, by the front and by Flask alone; identities are pinned."""
    monkeypatch.setattr("churn.scoring.new_id", lambda: "1" * 32)
    flask = make_app().test_client()
    good = {**customer, "customer_id": 5}
    documents = [good, {**good, "event_id": 7}, [good, good], [], {}, [{}], "x", None, {**good, "customer_age": "old"}]
    bodies = [json.dumps(document).encode() for document in documents]
    for body in [*bodies, b"", b"{", b'{"a":1,"a":1}', b'{"a":NaN}', b"[" * 3_000, b" " * 100_001]:
        fronted = ask(door, post(body))[0]
        alone = flask.post("/predict", data=body, content_type=JSON)

        assert fronted.payload == alone.data, body[:80]
        assert fronted.status == alone.status_code
        assert fronted.headers["content-type"] == alone.content_type


def test_a_plain_prediction_does_not_pass_flask(
    service: Any, customer: dict[str, Any], journal: Any, web_metrics: WebMetrics
) -> None:
    door = Door(service, None, web_metrics)  # type: ignore[arg-type]

    answered = ask(door, post(json.dumps(customer).encode()))[0]

    assert answered.status == 200
    assert json.loads(answered.payload)["prediction_id"] == journal.predictions[0].prediction_id
    assert web_metrics.requests.labels("/predict", "200")._value.get() == 1


def test_a_plain_prediction_with_a_key_does_not_pass_flask_either(
    service: Any, customer: dict[str, Any], web_metrics: WebMetrics
) -> None:
    keys = SimpleNamespace(client=lambda token: "shop" if token == "secret" else None, rate=lambda client: None)
    door = Door(service, None, web_metrics, Gate(keys=keys))  # type: ignore[arg-type]
    body = json.dumps(customer).encode()

    statuses = [
        one.status for one in ask(door, post(body, x_api_key="secret"), post(body, authorization="Bearer secret"))
    ]

    assert statuses == [200, 200]


def test_a_wrong_key_is_told_by_flask(service: Any, make_app: Any, customer: Any, web_metrics: WebMetrics) -> None:
    gate = Gate(keys=SimpleNamespace(client=lambda token: None, rate=lambda client: None))  # type: ignore[arg-type]
    door = Door(service, make_app(gate=gate), web_metrics, gate)
    body = json.dumps(customer).encode()

    assert [one.status for one in ask(door, post(body), post(body, x_api_key="guess"))] == [401, 401]


def test_a_request_that_flask_refuses_after_the_gate_is_taken_off_the_rate_once(
    service: Any, make_app: Any, customer: dict[str, Any], web_metrics: WebMetrics
) -> None:
    taken: list[str] = []
    limit = SimpleNamespace(take=lambda client, rate: float(taken.append(client) or 0.0))
    gate = Gate(limit=limit, per_second=5.0)  # type: ignore[arg-type]
    door = Door(service, make_app(gate=gate), web_metrics, gate)
    wrong = json.dumps({**customer, "customer_age": "old"}).encode()

    assert ask(door, post(wrong))[0].status == 422
    assert taken == ["address 127.0.0.1"]


def test_the_service_is_alive_though_no_thread_is_free(door: Door, make_app: Any) -> None:
    door.threads.shutdown()

    answered = ask(door, request("GET", "/health"))[0]

    assert (answered.status, answered.payload) == (200, make_app().test_client().get("/health").data)


@pytest.mark.parametrize(
    "request_of",
    [
        lambda body: post(body, length=False),
        lambda body: post(body, content_type="application/json; charset=utf-8"),
        lambda body: post(body, idempotency_key="k"),
        lambda body: post(body[:-1] + b',"event_id":"e-9"}'),
        lambda body: post(body, expect="100-continue"),
        lambda body: post(body, connection="close"),
        lambda body: post(body).replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
)
def test_what_is_not_plain_is_answered_all_the_same(
    door: Door, customer: dict[str, Any], request_of: Callable[[bytes], bytes]
) -> None:
    async def asked() -> Answer:
        connection = door.connect()
        answered = await connection.ask(request_of(json.dumps(customer).encode()))
        return await connection.answer() if answered.status == 100 else answered

    assert asyncio.run(asked()).status == 200


@pytest.mark.parametrize(
    "changed",
    [
        (b"/predict", b"/predict?x=1"),
        (b"POST", b"PUT"),
        (b"content-length: 2", b"content-length: 2\r\ncontent-length: 2"),
        (b"content-length: 2", b"content-length: 99999999999999999999"),
        (b"content-length: 2", b"content-length: -2"),
        (b"content-length: 2", b"transfer-encoding: chunked"),
        (b"host", b"idempotency-key: a\r\nidempotency-key: b\r\nhost"),
        (b"host", b"idempotency-key: \xe9\r\nhost"),
        (b"host: churnwatch", b"no colon"),
        (b"host", b"x-request-id: 7\r\nhost"),
    ],
)
def test_a_head_that_asks_for_more_is_not_plain(changed: tuple[bytes, bytes]) -> None:
    plain = post(b"{}").partition(b"\r\n\r\n")[0]
    other = plain.replace(*changed)

    assert read_head(plain) is not None
    assert other != plain
    assert read_head(other) is None


def test_an_idempotency_key_that_is_not_ascii_is_refused_not_ignored(
    door: Door, customer: dict[str, Any], journal: Any
) -> None:
    answered = ask(door, post(json.dumps(customer).encode(), idempotency_key="\u00e9"))[0]

    assert answered.status == 400
    assert b"printable ASCII" in answered.payload
    assert journal.payloads == []


def test_other_routes_are_flasks(door: Door) -> None:
    answered = ask(door, request("GET", "/ready"))[0]

    assert (answered.status, answered.payload) == (200, b'{"ready":true}')


def test_a_body_without_length_is_read_no_further_than_the_limit(door: Door) -> None:
    assert ask(door, post(b" " * 1_000_000, length=False))[0].status == 413


def test_a_body_that_says_it_is_too_large_is_not_awaited(door: Door) -> None:
    assert ask(door, request("POST", "/predict", {"content-type": JSON, "content-length": "100001"}))[0].status == 413


def test_a_full_journal_is_told_by_flask_and_counted_once(
    door: Door, journal: Any, customer: dict[str, Any], sample: Any
) -> None:
    journal.full = True

    answered = ask(door, post(json.dumps(customer).encode()))[0]

    assert answered.status == 503
    assert answered.headers["retry-after"] == "2"
    run = {"route": "http", "model_run_id": "a" * 32}
    assert sample("churnwatch_predictions_total", **run, outcome="not_logged") == 1
    assert sample("churnwatch_predictions_total", **run, outcome="answered") is None


def test_a_header_with_an_underscore_cannot_pass_for_another(
    service: Any, make_app: Any, web_metrics: WebMetrics
) -> None:
    gate = Gate(keys=SimpleNamespace(client=lambda token: token or None, rate=lambda client: None))  # type: ignore[arg-type]
    door = Door(service, make_app(gate=gate), web_metrics, gate)

    asked = ask(door, request("GET", "/model", {"x_api_key": "k"}), request("GET", "/model", {"x-api-key": "k"}))

    assert [one.status for one in asked] == [401, 200]


class Together:
    """Remembers groups; answers each work with itself."""

    def __init__(self) -> None:
        self.groups: list[list[Any]] = []
        self.error: Exception | None = None

    def __call__(self, group: Sequence[Any]) -> list[Any]:
        self.groups.append(list(group))
        if self.error is not None:
            raise self.error
        return list(group)


class Told:
    """Takes outcomes to whoever waits for them: the seats are futures."""

    def __call__(self, seats: Sequence[Any], outcomes: Any) -> None:
        for number, seat in enumerate(seats):
            if isinstance(outcomes, BaseException):
                seat.set_exception(outcomes)
            else:
                seat.set_result(outcomes[number])


def join(groups: Any, work: Any) -> asyncio.Future[Any]:
    future = asyncio.get_running_loop().create_future()
    groups.join(work, future)
    return future


def test_requests_that_meet_are_one_group() -> None:
    together = Together()

    async def meet() -> list[Any]:
        groups = Groups(together, Told())
        return await asyncio.gather(*[join(groups, i) for i in range(5)])

    assert asyncio.run(meet()) == [0, 1, 2, 3, 4]
    assert together.groups == [[0, 1, 2, 3, 4]]


def test_after_a_large_group_the_next_waits_for_as_many_but_not_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web_service.front.GATHER_SECONDS", 0.2)  # the test itself may be held up
    together = Together()

    async def meet() -> float:
        groups = Groups(together, Told())
        await asyncio.gather(*[join(groups, i) for i in range(4)])
        first = join(groups, 10)
        await asyncio.sleep(0)
        assert len(together.groups) == 1
        await asyncio.gather(first, *[join(groups, i) for i in range(11, 14)])
        started = time.perf_counter()
        await join(groups, 20)
        return time.perf_counter() - started

    waited = asyncio.run(meet())

    assert together.groups == [[0, 1, 2, 3], [10, 11, 12, 13], [20]]
    assert 0.0005 < waited < 1.0


def test_a_group_that_fails_fails_for_each_and_the_next_is_served() -> None:
    together = Together()

    async def meet() -> list[Any]:
        groups = Groups(together, Told())
        together.error = JournalFull("full")
        failed = await asyncio.gather(*[join(groups, i) for i in range(2)], return_exceptions=True)
        together.error = None
        return [*failed, await join(groups, 7)]

    first, second, third = asyncio.run(meet())

    assert isinstance(first, JournalFull)
    assert isinstance(second, JournalFull)
    assert third == 7


def keyed(customer: dict[str, Any], event_id: str, **changed: Any) -> bytes:
    return json.dumps({**customer, **changed, "event_id": event_id}).encode()


def test_keyed_requests_that_meet_are_answered_once_an_event(
    door: Door, customer: dict[str, Any], journal: Any
) -> None:
    """Three of one event, one of another, and one that claims to be the first with other fields."""
    bodies = [keyed(customer, "a"), keyed(customer, "a"), keyed(customer, "b"), keyed(customer, "a")]
    bodies.append(keyed(customer, "a", customer_age=99))

    answers = ask(door, *map(post, bodies))

    assert [answer.status for answer in answers[:4]] == [200] * 4
    assert answers[0].payload == answers[1].payload == answers[3].payload != answers[2].payload
    assert {prediction.event_id for prediction in journal.predictions} >= {"a", "b"}


def test_while_a_keyed_group_is_answered_the_next_gathers() -> None:
    together, go_on = Together(), threading.Event()

    def slowly(group: Sequence[Any]) -> list[Any]:
        go_on.wait(5)
        return together(group)

    async def meet() -> list[Any]:
        with ThreadPoolExecutor(2) as threads:
            groups = ThreadGroups(slowly, Told(), threads)
            first = join(groups, 0)
            others = [join(groups, i) for i in range(1, 5)]
            go_on.set()
            return list(await asyncio.gather(first, *others))

    assert asyncio.run(meet()) == [0, 1, 2, 3, 4]
    assert together.groups == [[0], [1, 2, 3, 4]]
