"""From a candidate and a champion to an Evidence: which rows to take, answered by both, compared."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from churn.bundle import Bundle
from churn.contract import Contract
from churn.errors import ChurnwatchError, FeatureStoreError
from churn.feature_store import FeatureStore
from churn.store import PredictionStore
from orchestration.evidence import Evidence, Latencies, Truth, known_truth, replayed
from orchestration.replay import (
    Answers,
    Latency,
    Rows,
    answers,
    labelled_requests,
    latency,
    learnt_from_the_log,
    newest_requests,
    unseen_rows,
)

FEWEST_REQUESTS = 500
"""With fewer logged requests the test rows are replayed instead: shares of them would say little."""
FEWEST_TRUE_ROWS = 200
FEWEST_OF_A_CLASS = 20
"""Rows with a known truth, and of each kind: with fewer, quality cannot be told."""

Progress = Callable[[], None]


@dataclass(frozen=True)
class Candidates:
    """A candidate and what it is compared with. No `champion`: there is none, or its `problem` says what is wrong."""

    challenger: Bundle
    champion: Bundle | None = None
    champion_run_id: str | None = None
    problem: str = ""


def gather(
    candidates: Candidates,
    contract: Contract,
    requests: int,
    store: PredictionStore,
    features: FeatureStore,
    now: Callable[[], datetime],
    progress: Progress = lambda: None,
) -> Evidence:
    """Replay and compare; `contract` is the deployed one. Raises StoreUnavailable.

    The feature store is asked what a model has learnt from, and for test rows where the log holds too little; an
    outage of it is a problem that the evidence tells.
    """
    began, moment, bundle = time.perf_counter(), now(), candidates.challenger
    logged = newest_requests(store, contract.name, requests, moment)
    progress()
    labelled, outage = _labelled(candidates, contract.name, requests, store, features, moment)
    progress()
    unseen = None
    if len(logged) < FEWEST_REQUESTS or _shortage(labelled):
        unseen, further = _unseen(features, bundle)
        outage = outage or further
    rows = unseen if unseen and len(logged) < FEWEST_REQUESTS else logged
    mine, other = _both(candidates, rows, progress)
    return Evidence(
        contract=contract.name,
        deployed_contract_sha256=contract.sha256,
        run_id=bundle.run_id,
        digest=bundle.digest,
        family=bundle.model.family,
        threshold=bundle.threshold,
        contract_sha256=bundle.contract.sha256,
        features_version=str(bundle.manifest["facts"].get("features_version", "")),
        champion_run_id=candidates.champion_run_id,
        champion_problem=candidates.problem,
        made_at=moment,
        currency=contract.decision.currency,
        requests=replayed(bundle.contract, rows, mine, other, _latencies(candidates, rows, mine, other)),
        truth=_truth(candidates, labelled, unseen, outage, progress),
        seconds=time.perf_counter() - began,
    )


def _truth(candidates: Candidates, labelled: Rows, unseen: Rows | None, outage: str, progress: Progress) -> Truth:
    rows = unseen if _shortage(labelled) and unseen else labelled
    problem = _shortage(rows)
    if not problem:
        mine, other = _both(candidates, rows, progress)
        taken = ~(mine.refused | other.refused) if other else ~mine.refused
        problem = _shortage(Rows(rows.source, rows.records, rows.churned[taken] if rows.churned is not None else None))
        if not problem:
            return known_truth(candidates.challenger.contract, rows, mine, other)
    churned = 0 if rows.churned is None else int(rows.churned.sum())
    said = f"{problem}; besides: {outage}" if outage else problem
    return Truth(source=rows.source, rows=len(rows), churned=churned, problem=said)


def _labelled(
    candidates: Candidates, contract: str, requests: int, store: PredictionStore, features: FeatureStore, now: datetime
) -> tuple[Rows, str]:
    """Labelled requests that neither model learnt from; none, and why, when it cannot be told what they learnt from."""
    models = [candidates.challenger, *([candidates.champion] if candidates.champion else [])]
    try:
        learnt = frozenset[str]().union(*(learnt_from_the_log(features, model) for model in models))
    except FeatureStoreError as error:
        return Rows("logged requests", [], np.array([], dtype=bool)), f"what was learnt cannot be told: {error}"
    return labelled_requests(store, contract, requests, now, learnt), ""


def _shortage(rows: Rows) -> str:
    """Why these rows cannot tell quality; empty when they can."""
    truth = rows.churned
    count, leavers = (0, 0) if truth is None else (len(truth), int(truth.sum()))
    if count >= FEWEST_TRUE_ROWS and min(leavers, count - leavers) >= FEWEST_OF_A_CLASS:
        return ""
    return (
        f"of {rows.source} {count} can be used, {leavers} of them left; needed are {FEWEST_TRUE_ROWS}, "
        f"{FEWEST_OF_A_CLASS} of each kind"
    )


def _unseen(features: FeatureStore, bundle: Bundle) -> tuple[Rows | None, str]:
    try:
        return unseen_rows(features, bundle), ""
    except ChurnwatchError as error:
        return None, str(error)


def _both(candidates: Candidates, rows: Rows, progress: Progress) -> tuple[Answers, Answers | None]:
    champion = candidates.champion
    return answers(candidates.challenger, rows, progress), answers(champion, rows, progress) if champion else None


def _latencies(candidates: Candidates, rows: Rows, mine: Answers, other: Answers | None) -> Latencies:
    """Each timed on requests that it takes."""
    return (
        _timed(candidates.challenger, rows, mine),
        _timed(candidates.champion, rows, other) if candidates.champion and other else None,
    )


def _timed(bundle: Bundle, rows: Rows, given: Answers) -> Latency | None:
    taken = [record for record, refused in zip(rows.records, given.refused, strict=True) if not refused]
    return latency(bundle, Rows(rows.source, taken)) if taken else None
