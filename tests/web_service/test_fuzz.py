"""Bodies that no one would send: each is told whose problem it is, and every count holds."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from churn.bundle import Bundle
from churn.journal import Idempotency, Journal, Shipper
from churn.metrics import AnswerMetrics, ModelMetrics, WebMetrics
from churn.serving import ServingModel
from churn.store.interface import PredictionStore
from tests.fakes import pseudonym_key
from tests.web_service.connection import Door, post
from web_service.service import PredictionService

FEW, MANY = 2_000, 100_000
ROUTES = ("/predict", "/predict", "/predict", "/explain", "/feedback", "/predict/by-id")
TOLD = {200, 400, 404, 413, 415, 422}
ODD: list[Any] = [
    *(None, True, False, 0, -1, 1, 1.5, -0.0, 1e308, 10**25, -(10**400), "", " ", "Unknown", "M", "x" * 300, "\u0000"),
    *("\ud83d\ude00", "NaN", "2026-01-31T12:00:00Z", "9999-99-99", [], {}, [[[]]], {"a": {"b": []}}, ["M"], {"M": 1}),
]


class Fuzzer:
    """Draws a request: a right one, changed a little or a lot."""

    def __init__(self, customers: list[dict[str, Any]], seed: int) -> None:
        self.customers = customers
        self.random = random.Random(seed)

    def request(self) -> tuple[str, bytes, dict[str, str]]:
        choose = self.random
        document: Any = self.record()
        if choose.random() < 0.2:
            document = [self.record() for _ in range(choose.choice((0, 1, 2, 3, 101)))]
        elif choose.random() < 0.05:
            document = choose.choice(ODD)
        body = json.dumps(document).encode()
        if choose.random() < 0.3:
            body = self.damaged(body)
        headers = {"content-type": "application/json", "content-length": str(len(body))}
        if choose.random() < 0.05:
            headers["idempotency-key"] = choose.choice(("", "k", "k" * 300, "\u00e9", f"key-{choose.random()}"))
        if choose.random() < 0.03:
            headers["content-type"] = choose.choice(("", "text/html", "application/json;charset=utf-8", "\u00ff"))
        if choose.random() < 0.05:
            del headers["content-length"]
        return choose.choice(ROUTES), body, headers

    def record(self) -> dict[str, Any]:
        choose = self.random
        record = dict(choose.choice(self.customers))
        for _ in range(choose.choice((0, 0, 1, 2, 5))):
            names = [
                *record,
                "customer_id",
                "event_id",
                "event_time",
                "prediction_id",
                "churned",
                "observed_at",
                "\u00fc",
            ]
            record[choose.choice(names)] = choose.choice(ODD)
        return record

    def damaged(self, body: bytes) -> bytes:
        choose = self.random
        content = bytearray(body)
        for _ in range(choose.choice((1, 1, 3))):
            place = choose.randrange(len(content)) if content else 0
            what = choose.randrange(4)
            if what == 0:
                del content[place : place + choose.randrange(1, 9)]
            elif what == 1:
                content[place:place] = choose.choice((b"[", b"}", b'"', b"\xff", b"NaN", b"\\u0000", b",", b"1e999"))
            elif what == 2 and content:
                content[place] = choose.randrange(256)
            else:
                content[place:place] = content[: choose.randrange(50)]
        return bytes(content)


@pytest.fixture
def worker(bundle: Bundle, tmp_path: Path, store: PredictionStore) -> Iterator[Any]:
    registry = CollectorRegistry()
    journal = Journal(tmp_path / "journal")
    service = PredictionService(
        ServingModel(bundle, "a test asked for it", ModelMetrics(registry), key=pseudonym_key),
        journal,
        Idempotency(tmp_path / "journal", store.get_many),
        AnswerMetrics(registry),
        list_limit=100,
    )
    yield SimpleNamespace(service=service, journal=journal, shipper=Shipper(journal, store), store=store)
    journal.close()


async def ask(door: Door, fuzzer: Fuzzer, count: int) -> tuple[Counter[int], int]:
    statuses: Counter[int] = Counter()
    predictions: set[str] = set()
    connection = door.connect()
    for _ in range(count):
        path, body, headers = fuzzer.request()
        length = "content-length" in headers
        named = {name: value for name, value in headers.items() if name != "content-length"}
        answered = await connection.ask(post(body, path, length, **named))
        assert answered.status in TOLD, (answered.status, path, body, headers)
        statuses[answered.status] += 1
        document = json.loads(answered.payload)
        if answered.status == 200 and path.startswith("/predict"):
            predictions.update(one["prediction_id"] for one in (document if isinstance(document, list) else [document]))
        if connection.wire.closed:
            connection = door.connect()
    return statuses, len(predictions)


def fuzz(worker: Any, make_app: Any, customers: list[dict[str, Any]], count: int, seed: int) -> None:
    door = Door(worker.service, make_app(service=worker.service), WebMetrics(CollectorRegistry()))
    statuses, answered = asyncio.run(ask(door, Fuzzer(customers, seed), count))
    door.threads.shutdown()
    while worker.journal.stats().waiting:
        worker.shipper.ship_once()
    counts = worker.journal.stats()

    assert min(statuses[status] for status in (200, 400, 422)) > count // 50
    assert counts.accepted == counts.shipped + counts.waiting + sum(counts.rejected.values())
    assert counts.accepted == answered == worker.store.count()
    assert counts.rejected == {}


def test_odd_bodies_are_told_whose_problem_they_are(worker: Any, make_app: Any, customers: Any) -> None:
    fuzz(worker, make_app, customers, FEW, seed=1)


@pytest.mark.integration
@pytest.mark.timeout(900)
def test_a_hundred_thousand_odd_bodies_lose_no_count(worker: Any, make_app: Any, customers: Any) -> None:
    fuzz(worker, make_app, customers, MANY, seed=2)
