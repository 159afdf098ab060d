"""What speaks for and against a candidate: flips of decision, quality with intervals, segments, latency. JSON-able."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec
import numpy as np

from churn.contract import Contract
from orchestration.comparison import Interval, Judged, base_rate_log_loss, compare
from orchestration.replay import Answers, Flags, Latency, Rows, segments

Latencies = tuple[Latency | None, Latency | None]
"""Of the challenger and the champion."""
FEWEST_OF_A_SEGMENT = 30
"""With fewer rows a segment's figures say more of chance than of the model."""


class Flips(msgspec.Struct, frozen=True):
    """Rows on which the candidate decides otherwise than the champion: contacts them newly, or no longer."""

    rows: int
    newly_contacted: int
    no_longer_contacted: int

    @property
    def share(self) -> float:
        return (self.newly_contacted + self.no_longer_contacted) / self.rows if self.rows else 0.0


class RequestSegment(msgspec.Struct, frozen=True, kw_only=True):
    """The replayed requests of one level of a feature: the share contacted by each model, and their flips."""

    feature: str
    level: str
    rows: int
    contacted_share: float
    champion_contacted_share: float | None
    flips: Flips | None


class TruthSegment(msgspec.Struct, frozen=True, kw_only=True):
    """How fair the candidate is to one level: whom it finds, whom it contacts in vain, and how far its mean
    probability is above the share that left. None where the segment holds too few rows for it."""

    feature: str
    level: str
    rows: int
    churned: int
    recall: float | None
    false_alarm_share: float | None
    calibration_gap: float | None


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """What replaying requests showed. Champion fields are None where there is none to compare with."""

    source: str
    rows: int
    routes: Mapping[str, int]
    refused: int
    first_refusal: str
    contacted_share: float
    champion_contacted_share: float | None
    flips: Flips | None
    segments: list[RequestSegment]
    latency: Latency | None
    champion_latency: Latency | None


class Truth(msgspec.Struct, frozen=True, kw_only=True):
    """What rows of known truth showed; `problem` says why nothing, and `judged` is None then. `difference` is
    challenger minus champion."""

    source: str
    rows: int
    churned: int
    problem: str = ""
    judged: Judged | None = None
    champion: Judged | None = None
    difference: Mapping[str, Interval] = {}
    base_rate_log_loss: float = 0.0
    segments: list[TruthSegment] = []


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """All that a promotion is decided by. `champion_problem` says why the champion cannot be compared with."""

    contract: str
    deployed_contract_sha256: str
    run_id: str
    digest: str
    family: str
    threshold: float
    contract_sha256: str
    features_version: str
    champion_run_id: str | None
    champion_problem: str
    made_at: datetime
    seconds: float
    currency: str
    requests: Replayed
    truth: Truth


def replayed(
    contract: Contract, rows: Rows, challenger: Answers, champion: Answers | None, latencies: Latencies
) -> Replayed:
    """What `rows` show, as both models answered them."""
    return Replayed(
        source=rows.source,
        rows=len(rows),
        routes=rows.routes,
        refused=int(challenger.refused.sum()),
        first_refusal=challenger.first_refusal,
        contacted_share=_share(challenger.contacted),
        champion_contacted_share=_share(champion.contacted) if champion else None,
        flips=flips(champion, challenger) if champion else None,
        segments=_request_segments(contract, rows, challenger, champion),
        latency=latencies[0],
        champion_latency=latencies[1],
    )


def known_truth(contract: Contract, rows: Rows, challenger: Answers, champion: Answers | None) -> Truth:
    """What rows with labels show, over those that every model takes. Needs rows of both kinds."""
    taken = ~(challenger.refused | champion.refused if champion else challenger.refused)
    churned = np.asarray(rows.churned, dtype=bool)[taken]
    some = Rows(rows.source, [record for record, fits in zip(rows.records, taken, strict=True) if fits], churned)
    mine, other = challenger.at(taken), champion.at(taken) if champion else None
    judged, champion_judged, difference = compare(churned, contract.decision, mine, other)
    return Truth(
        source=rows.source,
        rows=len(churned),
        churned=int(churned.sum()),
        judged=judged,
        champion=champion_judged,
        difference=difference,
        base_rate_log_loss=base_rate_log_loss(churned),
        segments=_truth_segments(contract, some, churned, mine),
    )


def flips(champion: Answers, challenger: Answers) -> Flips:
    """Over the rows that both take."""
    both = ~(champion.refused | challenger.refused)
    old, new = champion.contacted[both], challenger.contacted[both]
    return Flips(int(both.sum()), int((new & ~old).sum()), int((old & ~new).sum()))


def _request_segments(
    contract: Contract, rows: Rows, challenger: Answers, champion: Answers | None
) -> list[RequestSegment]:
    found = []
    for feature, level, holds in segments(contract, rows):
        mine, other = challenger.at(holds), champion.at(holds) if champion else None
        found.append(
            RequestSegment(
                feature=feature,
                level=level,
                rows=int(holds.sum()),
                contacted_share=float(mine.contacted.mean()),
                champion_contacted_share=float(other.contacted.mean()) if other else None,
                flips=flips(other, mine) if other else None,
            )
        )
    return found


def _truth_segments(contract: Contract, rows: Rows, churned: Flags, given: Answers) -> list[TruthSegment]:
    found = []
    for feature, level, holds in segments(contract, rows):
        some, truth = given.at(holds), churned[holds]
        enough = len(truth) >= FEWEST_OF_A_SEGMENT
        found.append(
            TruthSegment(
                feature=feature,
                level=level,
                rows=len(truth),
                churned=int(truth.sum()),
                recall=_mean_of(some.contacted[truth]),
                false_alarm_share=_mean_of(some.contacted[~truth]),
                calibration_gap=float((some.probabilities - truth).mean()) if enough else None,
            )
        )
    return found


def _share(flags: Flags) -> float:
    return float(flags.mean()) if len(flags) else 0.0


def _mean_of(flags: Flags) -> float | None:
    return float(flags.mean()) if len(flags) >= FEWEST_OF_A_SEGMENT else None
