"""The store away, slow or cut off in the middle of a batch: appends go on as before, and all arrives once."""

from __future__ import annotations

import os
import statistics
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from churn.journal import Journal, Shipper
from churn.prediction import Prediction, to_json
from churn.store import PredictionStore, open_store
from tests.tcp_proxy import Proxy

pytestmark = pytest.mark.integration

OUTAGE_SECONDS = 5.0
APPENDS_PER_SECOND = 200


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    address = os.environ.get("MONGODB_URI")
    if not address:
        pytest.skip("MONGODB_URI is not set: no MongoDB to cut off")
    host, _, port = address.removeprefix("mongodb://").strip("/").partition(":")
    proxy = Proxy(host, int(port or 27017))
    yield proxy
    proxy.close()


@pytest.fixture
def store(proxy: Proxy) -> Iterator[PredictionStore]:
    from pymongo import MongoClient

    name = f"churnwatch_test_{uuid.uuid4().hex[:8]}"
    store = open_store(f"mongodb://127.0.0.1:{proxy.port}/{name}?directConnection=true", timeout_seconds=15)
    store.check()
    yield store
    store.close()
    with MongoClient[dict[str, Any]](os.environ["MONGODB_URI"]) as client:
        client.drop_database(name)


class Client:
    """Appends at a steady rate from a thread of its own and remembers how long each took."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._stop = threading.Event()
        self.seconds: list[float] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> int:
        self._stop.set()
        self._thread.join()
        return len(self.seconds)

    def _run(self) -> None:
        while not self._stop.wait(1 / APPENDS_PER_SECOND):
            payload = to_json(_prediction(f"p-{len(self.seconds)}"))
            started = time.perf_counter()
            self._journal.append([payload])
            self.seconds.append(time.perf_counter() - started)


def test_an_outage_of_the_store_costs_no_append_and_the_backlog_is_drained_sooner_than_it_grew(
    tmp_path: Path, proxy: Proxy, store: PredictionStore
) -> None:
    journal = Journal(tmp_path)
    shipper = Shipper(journal, store, interval_seconds=0.05)
    shipper.start()
    client = Client(journal)
    time.sleep(2)
    before = len(client.seconds)

    proxy.cut()
    time.sleep(OUTAGE_SECONDS)
    during = len(client.seconds)
    waiting, oldest = journal.stats().waiting, journal.stats().oldest_seconds
    proxy.is_up = True
    back = time.monotonic()
    while journal.stats().oldest_seconds > 2 and time.monotonic() - back < 60:
        time.sleep(0.05)
    took = time.monotonic() - back
    appended = client.stop()
    journal.close(drain_seconds=30)

    assert during - before > OUTAGE_SECONDS * APPENDS_PER_SECOND / 3
    assert waiting > (during - before) * 0.9
    assert OUTAGE_SECONDS - 1 < oldest < OUTAGE_SECONDS + 2
    assert took < OUTAGE_SECONDS + 5.5  # the longest wait between two tries is five seconds
    assert store.count("c") == appended
    quiet, dark = client.seconds[:before], client.seconds[before:during]
    assert statistics.median(dark) < statistics.median(quiet) + 0.1  # nobody waits for the store


def test_connections_cut_in_the_middle_of_batches_lose_nothing_and_store_nothing_twice(
    tmp_path: Path, proxy: Proxy, store: PredictionStore
) -> None:
    journal = Journal(tmp_path)
    Shipper(journal, store, interval_seconds=0.01, batch_records=50, retry_seconds=(0.01, 0.1)).start()
    proxy.delay_seconds = 0.005
    for round_ in range(20):
        journal.append([to_json(_prediction(f"{round_}-{number}")) for number in range(100)])
        time.sleep(0.05)
        proxy.cut()
        proxy.is_up = True

    journal.close(drain_seconds=30)

    assert store.count("c") == 2_000
    assert journal.stats().waiting == 0


def _prediction(name: str) -> Prediction:
    return Prediction(
        prediction_id=name,
        created_at=datetime.now(UTC),
        contract="c",
        contract_hash="h",
        model_run_id="r",
        route="http",
        features={"age": 41, "note": "x" * 200},
        churn_probability=0.1,
        churn=False,
        threshold=0.5,
        latency_seconds=0.001,
    )
