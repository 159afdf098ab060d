"""One run of traffic: both routes at once, from the same shifts, with the truth written beside."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from secrets import token_hex
from typing import Any

import pandas as pd

from churn.contract import Contract
from simulation.customers import endless_customers
from simulation.kinesis import Results, read_results, send_kinesis
from simulation.senders import Sent, send_http
from simulation.shifts import Shift
from simulation.traffic import Event, Receipt, make_events
from simulation.truth import Header, TruthFile, shift_truths


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run sends where. `rows` and `rate` (a second) are of each route; 0 rows: until stopped; 0: no limit.

    `http_url`, `stream` and `results_stream` are left out when None.
    """

    contract: Contract
    customers: pd.DataFrame
    source: str
    shifts: tuple[Shift, ...] = ()
    rows: int = 0
    rate: float = 1.0
    seed: int = 0
    http_url: str | None = None
    stream: str | None = None
    results_stream: str | None = None
    connections: int = 4
    batch: int = 1
    retry_seconds: float = 30.0
    api_key: str | None = None
    truth: Path | None = None
    label_delay_seconds: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """What became of a run: one count a route, and the answers found on the results stream."""

    sent: tuple[Sent, ...]
    results: Results | None = None


def run_traffic(plan: Plan, client: Any = None, label: str | None = None) -> Outcome:
    """Send it all; on KeyboardInterrupt, end early and say what was sent. `client` is boto3's for Kinesis.

    `label` begins the event ids of this run: the same label again makes no new predictions. Random when left out.
    """
    label = label or token_hex(4)
    if plan.truth is None:
        return _run(plan, client, label, None)
    with TruthFile(plan.truth, plan.label_delay_seconds) as truth:
        truth.begin(_header(plan))
        return _run(plan, client, label, truth)


def summary(outcome: Outcome) -> list[str]:
    """Lines for a terminal."""
    lines = [
        f"{sent.route}: {sent.sent} sent, {sent.answered} {'answered' if sent.route == 'http' else 'taken'}, "
        f"{sent.refused} refused, {sent.failed} failed, {sent.retries} tries again, {sent.rate:.0f} a second"
        for sent in outcome.sent
    ]
    if outcome.results is not None:
        found = outcome.results
        lines.append(f"results: {len(found.prediction_ids)} answered, {found.repeats} repeats, {found.missing} missing")
    return lines


def facts(outcome: Outcome) -> dict[str, Any]:
    """The same for a script."""
    counted = ("sent", "answered", "refused", "failed", "retries", "seconds", "rate")
    sent = {one.route: {name: getattr(one, name) for name in counted} for one in outcome.sent}
    if outcome.results is None:
        return {"sent": sent}
    found = outcome.results
    results = {"answered": len(found.prediction_ids), "repeats": found.repeats, "missing": found.missing}
    return {"sent": sent, "results": results}


def _run(plan: Plan, client: Any, label: str, truth: TruthFile | None) -> Outcome:
    stop, writing = threading.Event(), threading.Lock()

    def take(receipt: Receipt) -> None:
        if truth is not None:
            with writing:
                truth.take(receipt)

    senders = _senders(plan, client, label, take, stop)
    with ThreadPoolExecutor(len(senders) or 1) as pool:
        sent = tuple(future.result() for future in _finished([pool.submit(sender) for sender in senders], stop))
    results = None
    if plan.results_stream and plan.stream and plan.rows and not stop.is_set():
        ids = next(count.prediction_ids for count in sent if count.route == "stream")
        results = read_results(client, plan.results_stream, ids)
    return Outcome(sent, results)


def _senders(
    plan: Plan, client: Any, label: str, take: Callable[[Receipt], None], stop: threading.Event
) -> list[Callable[[], Sent]]:
    routes = [route for route, wanted in (("http", plan.http_url), ("stream", plan.stream)) if wanted]
    events = {route: _events(plan, label, route, position, len(routes)) for position, route in enumerate(routes)}
    senders: dict[str, Callable[[], Sent]] = {
        "http": lambda: send_http(
            events["http"],
            plan.http_url or "",
            connections=plan.connections,
            rate=plan.rate,
            batch=plan.batch,
            retry_seconds=plan.retry_seconds,
            api_key=plan.api_key,
            on_receipt=take,
            stop=stop,
            keep_ids=plan.rows > 0,
        ),
        "stream": lambda: send_kinesis(
            events["stream"],
            client,
            plan.stream or "",
            contract=plan.contract.name,
            rate=plan.rate,
            retry_seconds=plan.retry_seconds,
            on_receipt=take,
            stop=stop,
            keep_ids=plan.rows > 0,
        ),
    }
    return [senders[route] for route in routes]


def _events(plan: Plan, label: str, route: str, position: int, routes: int) -> Iterator[Event]:
    """A route's share of the customers: every second one when there are two routes, so that none is sent twice."""
    everyone = endless_customers(plan.customers, plan.contract, plan.seed)
    mine = islice(everyone, position, None, routes)
    customers = islice(mine, plan.rows) if plan.rows else mine
    return make_events(customers, plan.shifts, prefix=f"{label}-{route}", seed=plan.seed, rate=plan.rate)


def _finished(futures: list[Future[Sent]], stop: threading.Event) -> list[Future[Sent]]:
    """Wait for all. When one fails, or on Ctrl-C, the others are stopped and what they sent still counts."""
    try:
        while not all(future.done() for future in futures):
            if any(future.done() and future.exception() for future in futures):
                stop.set()
            stop.wait(0.1)
    except KeyboardInterrupt:
        stop.set()
    return futures


def _header(plan: Plan) -> Header:
    return Header(
        contract=plan.contract.name,
        started_at=datetime.now(UTC),
        seed=plan.seed,
        rate=plan.rate,
        rows=plan.rows,
        source=plan.source,
        shifts=shift_truths(plan.shifts),
    )
