"""verify: ask a running service about random customers and compare with what the run's own bundle answers."""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
import urllib3

from churn.bundle import Bundle
from churn.contract import load_contract
from churn.encoder import frame_records
from churn.errors import ChurnwatchError, InvalidInput, Refused, SettingError
from churn.model_cache import open_model
from churn.prediction import Prediction
from churn.registry import Registry
from churn.scoring import Scorer
from churn.settings import ModelSettings, SenderSettings, read

ROUTE = "/predict"
TOLERANCE = 1e-6
TIMEOUT_SECONDS = 15.0
BUSY = (429, 502, 503, 504)
SHOWN = 5
COMPARED = ("churn", "churn_label", "threshold", "model_run_id", "contract", "contract_hash", "missing", "unknown")


class NotAnswered(ChurnwatchError):
    """The service cannot be reached, or what it says is no answer."""


@dataclass
class Findings:
    """What the answers were like. `different` holds a sentence for each customer whose answer is not the bundle's."""

    asked: int = 0
    different: list[str] = field(default_factory=list)
    largest_difference: float = 0.0
    seconds: list[float] = field(default_factory=list)


def add_parser(parts: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    verify = parts.add_parser("verify", help="compare a running service's answers with those of the run's own bundle")
    verify.add_argument("url", metavar="URL", help="of an HTTP service or of an API Gateway stage")
    verify.add_argument("--run-id", help="the run that should answer, or an alias; default: RUN_ID")
    verify.add_argument("--count", type=int, default=20, help="random customers asked for; default: 20")
    verify.add_argument("--seed", type=int, help="draws the same customers again; default: at random, and told")
    verify.add_argument("--numbers", action="store_true", help='send {"data": [...]}, bare numbers in their order')
    verify.set_defaults(run=run_verify)
    return verify


def run_verify(options: argparse.Namespace) -> None:
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))
    settings = read(ModelSettings)
    run_id = options.run_id or settings.run_id
    if not run_id:
        raise SettingError("RUN_ID", "", "the run that should answer, here or by --run-id")
    if options.count < 1:
        raise SettingError("--count", options.count, "1 or more")
    contract = load_contract(options.contract)
    bundle = open_model(run_id, contract.name, Registry(settings.mlflow_tracking_uri), settings.bundle_cache)
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    customers = draw_customers(bundle, options.count, seed, options.numbers)
    found = compare(Asked(options.url, read(SenderSettings).web_api_key), bundle, customers)
    _say(options, bundle, seed, found)


class Asked:
    """The service, asked about one customer at a time: its answer or its refusal of fields. Raises NotAnswered."""

    def __init__(self, url: str, api_key: str = "") -> None:
        self.url = url.rstrip("/") if url.rstrip("/").endswith(ROUTE) else url.rstrip("/") + ROUTE
        self._headers = {"Content-Type": "application/json", **({"X-API-Key": api_key} if api_key else {})}
        retries = urllib3.Retry(3, allowed_methods=None, status_forcelist=BUSY, backoff_factor=0.3)
        self._pool = urllib3.PoolManager(timeout=TIMEOUT_SECONDS, retries=retries)

    def __call__(self, record: Mapping[str, Any]) -> dict[str, Any]:
        try:
            response = self._pool.request("POST", self.url, body=json.dumps(record), headers=self._headers)
        except urllib3.exceptions.HTTPError as error:
            raise NotAnswered(f"{self.url}: {error}") from error
        try:
            document = json.loads(response.data)
        except ValueError:
            document = None
        if response.status not in (200, 422) or not isinstance(document, dict):
            detail = (
                document.get("detail") if isinstance(document, dict) else response.data[:200].decode("utf-8", "replace")
            )
            raise NotAnswered(f"{self.url}: status {response.status}: {detail}")
        return document


def draw_customers(bundle: Bundle, count: int, seed: int, numbers: bool = False) -> list[dict[str, Any]]:
    """Customers out of the bundle's reference. Without `numbers`, every other one leaves out what it may.

    Raises SettingError when `numbers` are asked for and the contract has no order of them.
    """
    contract, choose = bundle.contract, random.Random(seed)  # noqa: S311  reproducible is what it should be
    if numbers and not contract.positional:
        raise SettingError("--numbers", contract.name, "a contract that gives an order of bare numbers")
    rows = frame_records(bundle.reference(), contract.feature_names)
    complete = [row for row in rows if None not in row.values()] if numbers else rows
    if not complete:
        raise SettingError("--numbers", contract.name, "a reference with rows that miss nothing")
    drawn = [dict(choose.choice(complete)) for _ in range(count)]
    if numbers:
        return [{"data": _by_place(bundle, row)} for row in drawn]
    optional = [feature.name for feature in contract.features if not feature.required]
    for row in drawn[1::2]:
        for name in optional[:1] and choose.sample(optional, 1):
            del row[name]
    return drawn


def compare(ask: Asked, bundle: Bundle, customers: Sequence[Mapping[str, Any]]) -> Findings:
    """Ask for each and hold its answer beside the bundle's own. Raises NotAnswered."""
    found = Findings()
    for customer, expected in zip(customers, Scorer(bundle).score(customers, "http"), strict=True):
        if isinstance(expected, InvalidInput):
            raise NotAnswered(f"the bundle itself refuses a customer of its reference: {expected}")
        started = time.perf_counter()
        document = ask(customer)
        found.seconds.append(time.perf_counter() - started)
        found.asked += 1
        if "churn_probability" in document:
            _judge(found, document, expected)
        else:
            found.different.append(f"refused: {document.get('detail')}")
    return found


def _judge(found: Findings, document: Mapping[str, Any], expected: Prediction) -> None:
    own = {name: getattr(expected, name) for name in COMPARED}
    own |= {name: list(own[name]) for name in ("missing", "unknown")}
    wrong = [f"{name}={document.get(name)}: expected {own[name]}" for name in own if document.get(name) != own[name]]
    probability = document["churn_probability"]
    difference = abs(probability - expected.churn_probability) if isinstance(probability, int | float) else math.inf
    found.largest_difference = max(found.largest_difference, difference)
    if not difference <= TOLERANCE:
        wrong.insert(0, f"churn_probability={probability}: expected {expected.churn_probability}")
    if wrong:
        found.different.append("; ".join(wrong))


def _by_place(bundle: Bundle, row: Mapping[str, Any]) -> list[float]:
    numbers: list[float] = []
    for place in bundle.contract.positional:
        name, _, level = place.partition("=")
        value = row[name]
        if level:
            numbers.append(int(value == level))
        elif isinstance(value, str):
            numbers.append(bundle.contract.feature(name).levels.index(value))
        else:
            numbers.append(int(value) if isinstance(value, bool) else value)
    return numbers


def _say(options: argparse.Namespace, bundle: Bundle, seed: int, found: Findings) -> None:
    same = found.asked - len(found.different)
    if options.json:
        facts = {
            "url": options.url,
            "run_id": bundle.run_id,
            "seed": seed,
            "asked": found.asked,
            "same": same,
            "different": found.different,
            "largest_difference": found.largest_difference,
            "median_seconds": round(statistics.median(found.seconds), 6),
            "slowest_seconds": round(max(found.seconds), 6),
        }
        print(json.dumps(facts), flush=True)
    if found.different:
        told = "\n  ".join(found.different[:SHOWN])
        count = f"{len(found.different)} answers of {found.asked}"
        raise Refused(f"{count} are not those of run {bundle.run_id}:\n  {told}")
    print(
        f"{options.url}: {same} of {found.asked} random customers (seed {seed}) are answered as run {bundle.run_id} "
        f"does; largest difference {found.largest_difference:.1e}; median {statistics.median(found.seconds) * 1e3:.0f} "
        f"ms, slowest {max(found.seconds) * 1e3:.0f} ms",
        file=sys.stderr if options.json else sys.stdout,
    )
