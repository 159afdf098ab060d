"""What a candidate must pass before it may go live. Each gate says in a sentence what it found and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import msgspec

from orchestration.comparison import Judged
from orchestration.evidence import Evidence


class Gate(msgspec.Struct, frozen=True):
    name: str
    passed: bool
    sentence: str


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Who decided what, when and why: what evidence.json holds. `outcome` is of one attempt: promoted or refused,
    or fit or unfit where nothing was to be moved."""

    outcome: str
    by: str
    at: datetime
    reason: str
    forced: bool
    gates: list[Gate]
    evidence: Evidence

    @property
    def failed(self) -> list[Gate]:
        return [gate for gate in self.gates if not gate.passed]


@dataclass(frozen=True, slots=True)
class Limits:
    """`calibration_error` is the mean distance of probability and share; latency is of one request, 95th of 100."""

    calibration_error: float
    latency_seconds: float


def judge(evidence: Evidence, limits: Limits) -> list[Gate]:
    """Every gate, passed or not. The bundle's own checks (hashes, golden answers) were passed when it was opened."""
    return [
        _contract(evidence),
        Gate("bundle", True, "every file and golden answer is as it was when registered"),
        _requests(evidence),
        *_quality(evidence, limits),
        _latency(evidence, limits),
    ]


def _contract(evidence: Evidence) -> Gate:
    found, deployed = evidence.contract_sha256[:12], evidence.deployed_contract_sha256[:12]
    if evidence.contract_sha256 == evidence.deployed_contract_sha256:
        return Gate("contract", True, f"it was tuned with the contract that is deployed, {deployed}")
    return Gate(
        "contract",
        False,
        f"it was tuned with contract {found}, deployed is {deployed}: ingest and tune again with this contract",
    )


def _requests(evidence: Evidence) -> Gate:
    replayed = evidence.requests
    if replayed.refused == 0:
        return Gate("requests", True, f"it takes all {replayed.rows:,} replayed requests")
    return Gate(
        "requests",
        False,
        f"it refuses {replayed.refused:,} of {replayed.rows:,} replayed requests, the first for "
        f"{replayed.first_refusal}: mend the contract or its callers",
    )


def _quality(evidence: Evidence, limits: Limits) -> list[Gate]:
    truth, judged = evidence.truth, evidence.truth.judged
    if judged is None:
        return [Gate("truth", False, f"its quality cannot be told: {truth.problem}")]
    gates = [_better_than_base_rate(judged, truth.base_rate_log_loss)]
    if evidence.champion_problem:
        gates.append(Gate("champion", False, f"it cannot be compared with the champion: {evidence.champion_problem}"))
    elif evidence.champion_run_id:
        gates.append(_not_worse(evidence))
    else:
        gates.append(Gate("champion", True, "there is no champion yet to compare with"))
    error, limit = judged.calibration_error, limits.calibration_error
    words = f"its probabilities are off by {error:.3f} on average, {limit:.3f} is allowed"
    advice = "" if error <= limit else ": calibrate on newer rows, or tune again"
    return [*gates, Gate("calibration", error <= limit, words + advice)]


def _better_than_base_rate(judged: Judged, base: float) -> Gate:
    found = judged.figures["log_loss"].high
    words = f"its log loss is at most {found:.4f} (95 %), that of answering the base rate is {base:.4f}"
    return Gate("skill", found < base, words if found < base else f"{words}: it knows nothing of these customers")


def _not_worse(evidence: Evidence) -> Gate:
    difference = evidence.truth.difference["log_loss"]
    interval = f"95 % interval {difference.low:+.4f} to {difference.high:+.4f}"
    words = f"its log loss differs from the champion's by {difference.value:+.4f} ({interval})"
    if difference.low <= 0:
        return Gate("champion", True, f"{words}: not worse beyond the interval")
    return Gate(
        "champion", False, f"{words}: it is worse than {evidence.champion_run_id}; keep that one, or tune again"
    )


def _latency(evidence: Evidence, limits: Limits) -> Gate:
    taken = evidence.requests.latency
    if taken is None:
        return Gate("latency", False, "its latency was not measured, since it takes none of the rows")
    found, limit = taken.p95_seconds * 1e3, limits.latency_seconds * 1e3
    words = f"95 of 100 requests alone take it up to {found:.2f} ms, {limit:.0f} ms are allowed"
    return Gate("latency", found <= limit, words if found <= limit else f"{words}: choose a smaller model")
