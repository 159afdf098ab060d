"""Promotion: evidence, gates, record, and the alias last. One at a time for a contract, by a lease in the store.

The lease (with an expiry and a token that grows) is the one that stream workers hold shards by. It is renewed while
the evidence is made and once more just before anything is written: who lost it meanwhile writes nothing. And the
champion must still be the one that the evidence compares with.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import msgspec
import structlog

from churn.contract import Contract
from churn.errors import BundleRefused, Refused, RunNotFound
from churn.feature_store import FeatureStore
from churn.model_cache import open_resolved
from churn.registry import (
    APPROVED_AT_TAG,
    APPROVED_DIGEST_TAG,
    CHAMPION,
    PREVIOUS,
    WITHDRAWN_AT_TAG,
    RegisteredModel,
    Registry,
)
from churn.store import PredictionStore
from orchestration import turns
from orchestration.evidence import Evidence
from orchestration.evidence_page import evidence_page
from orchestration.gates import Gate, Limits, Record, judge
from orchestration.gathering import Candidates, gather

log = structlog.get_logger()

TURN_SECONDS = 120.0
WITHDRAWAL_TAGS = (WITHDRAWN_AT_TAG, "churnwatch.rolled_back_by", "churnwatch.rolled_back_reason")


class PromotionRefused(Refused):
    """The candidate did not pass; nothing that is served has changed."""


class PromotionUnderWay(PromotionRefused):
    """Another promotion of the contract holds the turn, or took it."""


class ReleaseWriter(Protocol):
    """Where records are kept and aliases are moved: orchestration/releases.py, on MLflow."""

    def log(self, model: RegisteredModel, folder: str, files: dict[str, bytes]) -> None: ...

    def tag(self, run_id: str, tags: dict[str, str], remove: tuple[str, ...] = ()) -> None: ...

    def make_champion(self, model: RegisteredModel, replaced: RegisteredModel | None) -> int: ...

    def step_back(self, previous: RegisteredModel) -> None: ...


@dataclass(frozen=True, slots=True)
class Promoted:
    """What became of a candidate. `digest` is the sha256 of evidence.json, kept in `folder` beside the run."""

    record: Record
    digest: str
    folder: str
    page: bytes


@dataclass(frozen=True)
class Desk:
    """What a promotion works with."""

    registry: Registry
    releases: ReleaseWriter
    store: PredictionStore
    features: FeatureStore
    cache: Path
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Request:
    """Who asks for it and why. `move` is false for evidence alone; `force` promotes what fails its gates."""

    by: str
    reason: str = ""
    requests: int = 5_000
    force: bool = False
    move: bool = True


def promote(model: RegisteredModel, contract: Contract, request: Request, limits: Limits, desk: Desk) -> Promoted:
    """Gather evidence, judge, record, and move the alias `champion`; refused is an outcome, not an error.

    Raises PromotionUnderWay, BundleRefused (of the candidate; never to be forced), RegistryUnavailable or
    StoreUnavailable; the alias has not moved then.
    """
    if model.contract != contract.name:
        raise PromotionRefused(f"run {model.run_id} is of contract {model.contract}, not {contract.name}")
    with turn(desk, contract.name) as keep:
        champion = alias(desk.registry, CHAMPION, contract.name)
        candidates = _open(model, champion, desk, keep)
        evidence = gather(candidates, contract, request.requests, desk.store, desk.features, desk.now, keep)
        gates = judge(evidence, limits)
        promoted = _written(_record(evidence, gates, request, desk.now()))
        keep()
        if alias(desk.registry, CHAMPION, contract.name) != champion:
            raise PromotionUnderWay(f"the champion of {contract.name} changed meanwhile; promote again to compare anew")
        _keep_record(promoted, model, desk)
        if promoted.record.outcome == "promoted":
            desk.releases.tag(model.run_id, _approval(promoted, model), remove=WITHDRAWAL_TAGS)
            keep()
            desk.releases.make_champion(model, champion if champion and champion.run_id != model.run_id else None)
    outcome, failed = promoted.record.outcome, [gate.name for gate in promoted.record.failed]
    log.info("promotion_decided", model_run_id=model.run_id, outcome=outcome, failed=failed, forced=request.force)
    return promoted


def rollback(contract: str, by: str, reason: str, desk: Desk) -> tuple[RegisteredModel, RegisteredModel]:
    """Give the previous champion its place back; (the one withdrawn, the one that serves now).

    Raises PromotionRefused when there is none, and BundleRefused when its bundle is no good any more.
    """
    with turn(desk, contract) as keep:
        champion, previous = alias(desk.registry, CHAMPION, contract), alias(desk.registry, PREVIOUS, contract)
        if champion is None or previous is None or champion.run_id == previous.run_id:
            raise PromotionRefused(f"{contract} has no previous champion; promote the run you want instead")
        open_resolved(previous, desk.registry, desk.cache)
        keep()
        desk.releases.step_back(previous)
        said = (_text(desk.now()), by, reason)
        desk.releases.tag(champion.run_id, dict(zip(WITHDRAWAL_TAGS, said, strict=True)))
    log.info("champion_rolled_back", model_run_id=champion.run_id, to=previous.run_id, by=by)
    return champion, previous


def alias(registry: Registry, name: str, contract: str) -> RegisteredModel | None:
    """Where an alias leads; None where it leads nowhere."""
    try:
        return registry.resolve(name, contract)
    except RunNotFound:
        return None


@contextlib.contextmanager
def turn(desk: Desk, contract: str) -> Iterator[Callable[[], None]]:
    """The contract's turn among promotions: turns.turn, whose TurnTaken becomes a PromotionUnderWay."""
    with _refused(), turns.turn(desk.store, "promotion", contract, desk.now, TURN_SECONDS) as renew:

        def keep() -> None:
            with _refused():
                renew()

        yield keep


@contextlib.contextmanager
def _refused() -> Iterator[None]:
    try:
        yield
    except turns.TurnTaken as error:
        raise PromotionUnderWay(str(error)) from error


def _open(model: RegisteredModel, champion: RegisteredModel | None, desk: Desk, keep: Callable[[], None]) -> Candidates:
    candidate = open_resolved(model, desk.registry, desk.cache)
    keep()
    if champion is None:
        return Candidates(candidate)
    try:
        return Candidates(candidate, open_resolved(champion, desk.registry, desk.cache), champion.run_id)
    except BundleRefused as error:
        return Candidates(candidate, None, champion.run_id, str(error))
    finally:
        keep()


def _record(evidence: Evidence, gates: list[Gate], request: Request, at: datetime) -> Record:
    fit = all(gate.passed for gate in gates)
    outcome = "promoted" if fit or request.force else "refused"
    if not request.move:
        outcome = "fit" if fit else "unfit"
    forced = request.force and not fit
    return Record(
        outcome=outcome, by=request.by, at=at, reason=request.reason, forced=forced, gates=gates, evidence=evidence
    )


def _written(record: Record) -> Promoted:
    payload = _json(record)
    digest = hashlib.sha256(payload).hexdigest()
    return Promoted(record, digest, f"promotion/{record.at:%Y%m%dT%H%M%SZ}", evidence_page(record, digest).encode())


def _keep_record(promoted: Promoted, model: RegisteredModel, desk: Desk) -> None:
    files = {"evidence.json": _json(promoted.record), "evidence.html": promoted.page}
    desk.releases.log(model, promoted.folder, files)


def _approval(promoted: Promoted, model: RegisteredModel) -> dict[str, str]:
    record = promoted.record
    return {
        APPROVED_AT_TAG: _text(record.at),
        APPROVED_DIGEST_TAG: model.digest,
        "churnwatch.promoted_by": record.by,
        "churnwatch.promotion_reason": record.reason,
        "churnwatch.promotion_forced": str(record.forced).lower(),
        "churnwatch.promotion_failed_gates": ", ".join(gate.name for gate in record.failed),
        "churnwatch.promotion_evidence": promoted.folder,
        "churnwatch.promotion_evidence_sha256": promoted.digest,
        "churnwatch.promotion_replaced": record.evidence.champion_run_id or "",
    }


def _json(record: Record) -> bytes:
    return msgspec.json.format(msgspec.json.encode(record), indent=1)


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
