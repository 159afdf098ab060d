"""A shop's transactions through the commands: features, segments in MLflow, the online view, the lines in the store."""

from __future__ import annotations

import csv
import functools
import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import mlflow
import pytest

from churn.contract import load_contract
from churn.model_cache import open_model
from churn.pseudonym import pseudonyms, read_key
from churn.registry import Registry
from churn.scoring import Scorer
from churn.store import open_store
from tests.training_servers import Servers
from web_service.by_id import records_by_id

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

RETAIL = load_contract("retail")
DAYS = 300


def shop_lines() -> Iterator[list[str]]:
    """Regulars who order every few weeks to the end, and others who stopped; some lines of nobody."""
    chance = random.Random(1)
    start = datetime(2026, 1, 1, 9)
    orders = []
    for customer in range(400):
        gap, last = chance.choice([(20, DAYS), (45, DAYS), (30, 150), (200, 90)])
        day = chance.uniform(0, gap)
        while day < last:
            orders.append((day, customer))
            day += gap * chance.uniform(0.6, 1.4)
    for invoice, (day, customer) in enumerate(sorted(orders), start=1):
        at = start + timedelta(days=day)
        time = f"{at.month}/{at.day}/{at.year} {at.hour}:{at.minute:02d}"
        for _ in range(chance.randint(1, 4)):
            item, pieces, price = chance.randint(1, 60), chance.randint(1, 12), chance.choice(["1.25", "2.95", "8.50"])
            yield [str(invoice), f"I{item:03}", "x", str(pieces), time, price, f"{10_000 + customer}", "France"]
        if invoice % 10 == 0:
            yield [str(invoice), "I001", "x", "1", time, "2.95", "", "France"]


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    transactions = RETAIL.transactions
    assert transactions is not None
    columns = [transactions.invoice, transactions.item, *RETAIL.drop, transactions.quantity, transactions.time]
    path = tmp_path_factory.mktemp("shop") / "lines.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([[*columns, transactions.price, RETAIL.id_column, "Country"], *shop_lines()])
    return path


def test_transactions_become_a_model_and_answers_by_id(servers: Servers, lines: Path) -> None:
    ingested = servers.succeed("ingest", "--contract", "retail", str(lines))
    loaded = servers.succeed("load", "--contract", "retail", str(lines))
    tuned = servers.succeed("tune", "--contract", "retail", "--version", ingested["version"], "--trials", "1")

    named = sum(bool(row[6]) for row in shop_lines())
    assert (loaded["stored"], loaded["repeated"], loaded["total"]) == (0, named, named)
    parent = mlflow.MlflowClient(servers.tracking_uri).get_run(tuned["parent_run_id"]).data.metrics
    assert parent["segments"] >= 3
    assert parent["segments_silhouette"] == parent[f"segments_silhouette_{int(parent['segments'])}"]
    ids = sorted({row[6] for row in shop_lines()} - {""})
    answers = answers_by_id(servers, tuned["run_id"], ids)
    assert len(answers) == len(ids) > 300
    assert {answer.churn_label for answer in answers} == {"leave", "stay"}
    assert {answer.features["delivery_country"] for answer in answers} == {"France"}


def answers_by_id(servers: Servers, run_id: str, ids: list[str]) -> list[Any]:
    """As the HTTP service answers them: by what the store knows of each customer."""
    bundle = open_model(run_id, "retail", Registry(servers.tracking_uri), servers.folder / "cache")
    key = functools.partial(read_key, "", Path(servers.stage.environment["CHURNWATCH_HOME"]) / "pseudonym.key")
    store = open_store(servers.stage.environment["STORE_URL"])
    try:
        bodies = [{"customer_id": one} for one in ids]
        records = records_by_id(bodies, "retail", store, pseudonyms(RETAIL, key))
        return list(Scorer(bundle, key=key).score(records, "http"))
    finally:
        store.close()
