"""The front gives Flask's own bytes for every request, groups those that meet, and hands on what is not plain."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from churn.errors import JournalFull
from churn.metrics import WebMetrics
from web_service.bridge import WSGIBridge
from web_service.front import Front, Groups, ThreadGroups
from web_service.gate import Gate

JSON = "application/json"


class Headers:
    """RSGI's headers: lower case, the same one twice allowed. With None, one whose value is not ASCII."""

    def __init__(self, *pairs: tuple[str, str | None]) -> None:
        self._pairs = pairs

    def __contains__(self, name: str) -> bool:
        return name in self.keys()

    def keys(self) -> list[str]:
        return [name for name, _ in self._pairs]

    def get(self, name: str, default: Any = None) -> Any:
        return next((value for key, value in self._pairs if key == name), default)

    def items(self) -> list[tuple[str, str]]:
        return [(name, value) for name, value in self._pairs if value is not None]


class Exchange:
    """One request's body in, its answer out."""

    def __init__(self, body: bytes, chunk: int = 1_000) -> None:
        self.body, self.chunk = body, chunk
        self.read = 0
        self.status, self.headers, self.payload = 0, [], b""

    async def __call__(self) -> bytes:
        self.read = len(self.body)
        return self.body

    async def __aiter__(self) -> Any:
        for start in range(0, len(self.body), self.chunk):
            self.read += self.chunk
            yield self.body[start : start + self.chunk]

    def response_bytes(self, status: int, headers: Sequence[tuple[str, str]], payload: bytes) -> None:
        self.status, self.headers, self.payload = status, list(headers), payload


def scope(method: str, path: str, *headers: tuple[str, str | None]) -> Any:
    return SimpleNamespace(
        proto="http",
        http_version="1.1",
        server="127.0.0.1:9696",
        client="127.0.0.1:5555",
        scheme="http",
        method=method,
        path=path,
        query_string="",
        headers=Headers(*headers),
    )


def post(body: bytes, content_type: str = JSON, path: str = "/predict", length: bool = True, **more: str) -> Any:
    headers = [("content-type", content_type), *more.items()]
    return scope("POST", path, *headers, *([("content-length", str(len(body)))] if length else []))


@pytest.fixture
def web_metrics() -> WebMetrics:
    return WebMetrics(CollectorRegistry())


@pytest.fixture
def front(service: Any, make_app: Any, web_metrics: WebMetrics) -> Iterator[Front]:
    with ThreadPoolExecutor(2) as threads:
        yield Front(service, Gate(), WSGIBridge(make_app()), threads, web_metrics, body_limit=100_000)


def media_type(headers: Sequence[tuple[str, str]]) -> str:
    return next(value for name, value in headers if name.lower() == "content-type")


async def ask(front: Front, request: Any, body: bytes) -> Exchange:
    exchange = Exchange(body)
    await front.__rsgi__(request, exchange)
    return exchange


def test_both_ways_give_equal_bytes(front: Front, make_app: Any, customer: dict[str, Any], monkeypatch: Any) -> None:
    """Every kind of body, by the front and by Flask alone; identities are pinned."""
    monkeypatch.setattr("churn.scoring.new_id", lambda: "1" * 32)
    flask = make_app().test_client()
    good = {**customer, "customer_id": 5}
    documents = [good, {**good, "event_id": 7}, [good, good], [], {}, [{}], "x", None, {**good, "customer_age": "old"}]
    bodies = [json.dumps(document).encode() for document in documents]
    for body in [*bodies, b"", b"{", b'{"a":1,"a":1}', b'{"a":NaN}', b"[" * 3_000, b" " * 100_001]:
        fronted = asyncio.run(ask(front, post(body), body))
        alone = flask.post("/predict", data=body, content_type=JSON)

        assert fronted.payload == alone.data, body[:80]
        assert fronted.status == alone.status_code
        assert media_type(fronted.headers) == alone.content_type


def test_an_idempotency_key_that_is_not_ascii_is_refused_not_ignored(
    front: Front, customer: dict[str, Any], journal: Any
) -> None:
    body = json.dumps(customer).encode()
    headers = [("content-type", JSON), ("content-length", str(len(body))), ("idempotency-key", None)]

    answered = asyncio.run(ask(front, scope("POST", "/predict", *headers), body))

    assert answered.status == 400
    assert b"printable ASCII" in answered.payload
    assert journal.payloads == []


def test_a_plain_prediction_does_not_pass_flask(
    service: Any, customer: dict[str, Any], journal: Any, web_metrics: WebMetrics
) -> None:
    front = Front(service, Gate(), WSGIBridge(None), None, web_metrics, body_limit=100_000)  # type: ignore[arg-type]
    body = json.dumps(customer).encode()

    exchange = asyncio.run(ask(front, post(body), body))

    assert exchange.status == 200
    assert json.loads(exchange.payload)["prediction_id"] == journal.predictions[0].prediction_id
    assert web_metrics.requests.labels("/predict", "200")._value.get() == 1


def test_the_service_is_alive_though_no_thread_is_free(front: Front, make_app: Any) -> None:
    front._threads = None  # type: ignore[assignment]

    exchange = asyncio.run(ask(front, scope("GET", "/health"), b""))

    assert (exchange.status, exchange.payload) == (200, make_app().test_client().get("/health").data)


@pytest.mark.parametrize(
    "request_of",
    [
        lambda body: post(body, length=False),
        lambda body: post(body, content_type="application/json; charset=utf-8"),
        lambda body: post(body, **{"idempotency-key": "k"}),
        lambda body: post(body[:-1] + b',"event_id":"e-9"}'),
    ],
)
def test_what_is_not_plain_is_answered_all_the_same(front: Front, customer: dict[str, Any], request_of: Any) -> None:
    body = json.dumps(customer).encode()

    exchange = asyncio.run(ask(front, request_of(body), body))

    assert exchange.status == 200


def test_other_routes_are_flasks(front: Front) -> None:
    exchange = asyncio.run(ask(front, scope("GET", "/ready"), b""))

    assert (exchange.status, exchange.payload) == (200, b'{"ready":true}')


def test_a_body_without_length_is_read_no_further_than_the_limit(front: Front) -> None:
    body = b" " * 1_000_000

    exchange = asyncio.run(ask(front, post(body, length=False), body))

    assert exchange.status == 413
    assert exchange.read <= 102_000


def test_a_body_that_says_it_is_too_large_is_not_read(front: Front) -> None:
    exchange = asyncio.run(ask(front, post(b" " * 100_001), b""))

    assert exchange.status == 413


def test_a_full_journal_is_told_by_flask_and_counted_once(
    front: Front, journal: Any, customer: dict[str, Any], sample: Any
) -> None:
    journal.full = True
    body = json.dumps(customer).encode()

    exchange = asyncio.run(ask(front, post(body), body))

    assert exchange.status == 503
    assert ("Retry-After", "2") in exchange.headers
    run = {"route": "http", "model_run_id": "a" * 32}
    assert sample("churnwatch_predictions_total", **run, outcome="not_logged") == 1
    assert sample("churnwatch_predictions_total", **run, outcome="answered") is None


def test_a_header_with_an_underscore_cannot_pass_for_another(make_app: Any) -> None:
    gate = Gate(keys=SimpleNamespace(client=lambda token: "x", rate=lambda client: None))  # type: ignore[arg-type]
    bridge = WSGIBridge(make_app(gate=gate))

    status, _, _ = bridge.answer(scope("GET", "/model"), [("x_api_key", "k")], b"")

    assert status == 401
    assert bridge.answer(scope("GET", "/model"), [("x-api-key", "k")], b"")[0] == 200


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


def test_requests_that_meet_are_one_group() -> None:
    together = Together()

    async def meet() -> list[Any]:
        groups = Groups(together)
        return await asyncio.gather(*[groups.join(i) for i in range(5)])  # type: ignore[arg-type]

    assert asyncio.run(meet()) == [0, 1, 2, 3, 4]
    assert together.groups == [[0, 1, 2, 3, 4]]


def test_after_a_large_group_the_next_waits_for_as_many_but_not_long() -> None:
    together = Together()

    async def meet() -> float:
        groups = Groups(together)
        await asyncio.gather(*[groups.join(i) for i in range(4)])  # type: ignore[arg-type]
        first = groups.join(10)  # type: ignore[arg-type]
        await asyncio.sleep(0)
        assert len(together.groups) == 1
        await asyncio.gather(first, *[groups.join(i) for i in range(11, 14)])  # type: ignore[arg-type]
        started = time.perf_counter()
        await groups.join(20)  # type: ignore[arg-type]
        return time.perf_counter() - started

    waited = asyncio.run(meet())

    assert together.groups == [[0, 1, 2, 3], [10, 11, 12, 13], [20]]
    assert 0.0005 < waited < 1.0


def test_a_group_that_fails_fails_for_each_and_the_next_is_served() -> None:
    together = Together()

    async def meet() -> list[Any]:
        groups = Groups(together)
        together.error = JournalFull("full")
        failed = await asyncio.gather(*[groups.join(i) for i in range(2)], return_exceptions=True)  # type: ignore[arg-type]
        together.error = None
        return [*failed, await groups.join(7)]  # type: ignore[arg-type]

    first, second, third = asyncio.run(meet())

    assert isinstance(first, JournalFull)
    assert isinstance(second, JournalFull)
    assert third == 7


def keyed(customer: dict[str, Any], event_id: str, **changed: Any) -> bytes:
    return json.dumps({**customer, **changed, "event_id": event_id}).encode()


def test_keyed_requests_that_meet_are_answered_once_an_event(
    front: Front, customer: dict[str, Any], journal: Any
) -> None:
    """Three of one event, one of another, and one that claims to be the first with other fields."""
    bodies = [keyed(customer, "a"), keyed(customer, "a"), keyed(customer, "b"), keyed(customer, "a")]
    bodies.append(keyed(customer, "a", customer_age=99))

    async def meet() -> list[Exchange]:
        return await asyncio.gather(*[ask(front, post(body), body) for body in bodies])

    answers = asyncio.run(meet())

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
            groups = ThreadGroups(slowly, threads)  # type: ignore[arg-type]
            first = groups.join(0)  # type: ignore[arg-type]
            others = [groups.join(i) for i in range(1, 5)]  # type: ignore[arg-type]
            go_on.set()
            return list(await asyncio.gather(first, *others))

    assert asyncio.run(meet()) == [0, 1, 2, 3, 4]
    assert together.groups == [[0], [1, 2, 3, 4]]
