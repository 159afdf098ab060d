"""What a report says, as data: the JSON twin is this, and the page is drawn from nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import msgspec

from churn.errors import ReportError
from churn.performance import Performance
from churn.quality import QualityProblem

FORMAT_VERSION = 1

State = Literal["ok", "insufficient", "empty", "broken"]
Verdict = Literal["drifted", "quiet", "not judged"]
NO_RUN = "no-predictions"
"""Stands where a run's id would, for a window in which a contract has no predictions at all."""


@dataclass(frozen=True, slots=True)
class Bars:
    """Shares of the reference and the window in the same cells, each adding up to 1 (or all 0).

    `steps` are neighbouring stretches of numbers: the first and last cell lie beyond the reference's range, from
    `low` to `high`. `values` are single whole numbers between two such cells. `levels` are unordered bars.
    """

    shape: Literal["steps", "values", "levels"]
    labels: list[str]
    reference: list[float]
    window: list[float]


@dataclass(frozen=True, slots=True)
class ColumnReport:
    """One column: the watch's verdict on it, the quality of its values, and its two distributions."""

    name: str
    description: str
    unit: str | None
    verdict: Verdict
    reason: str
    method: str | None = None
    p_value: float | None = None
    effect: float | None = None
    psi: float | None = None
    missing_reference: float = 0.0
    missing_window: float = 0.0
    unknown_window: float = 0.0
    invalid_window: float = 0.0
    outside_window: float = 0.0
    bars: Bars | None = None


@dataclass(frozen=True, slots=True)
class SecondOpinion:
    """What Evidently said of a sample, or why it said nothing. `page` is its file beside the summary."""

    scores: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)
    rows: int = 0
    page: str | None = None
    problem: str | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class WatchAlarm:
    """An alarm of the watch; `closed_at` is None while it rings."""

    cause: str
    severity: str
    summary: str
    opened_at: datetime
    closed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Money:
    """What acting on the window's answers is worth, expected from the probabilities before labels come, in
    `currency`; `low` and `high` are where it falls in 95 of 100 such windows, where that can be told."""

    currency: str
    contacted: int
    expected_profit: float
    offer_cost: float
    kept_value: float
    success_rate: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Slot:
    """Rows, and rows answered `churn`, in one of the equal stretches of the window."""

    start: datetime
    rows: int
    flagged: int


@dataclass(frozen=True, slots=True)
class Figures:
    """The window in numbers. Latencies are as logged: from the arrival of a batch to its scores."""

    rows: int
    routes: dict[str, int]
    flagged: int
    mean_probability: float | None
    thresholds: list[float]
    ignored_fields: int
    first_at: datetime | None
    last_at: datetime | None
    median_latency_seconds: float | None
    p99_latency_seconds: float | None

    @property
    def flagged_share(self) -> float | None:
        return self.flagged / self.rows if self.rows else None


@dataclass(frozen=True, slots=True)
class Report:
    """One window of one contract and run. `state` and `reason` say whether it could be judged."""

    contract: str
    title: str
    model_run_id: str
    start: datetime
    end: datetime
    made_at: datetime
    state: State
    reason: str
    figures: Figures
    contract_hashes: list[str] = field(default_factory=list)
    bundle_digest: str | None = None
    budget: float | None = None
    columns: list[ColumnReport] = field(default_factory=list)
    quality: list[QualityProblem] = field(default_factory=list)
    alarms: list[WatchAlarm] = field(default_factory=list)
    score: Bars | None = None
    timeline: list[Slot] = field(default_factory=list)
    estimated: Performance | None = None
    realised: Performance | None = None
    money: Money | None = None
    evidently: SecondOpinion | None = None
    changes: list[str] = field(default_factory=list)
    previous: str | None = None
    format_version: int = FORMAT_VERSION

    @property
    def drifted(self) -> list[str]:
        return [column.name for column in self.columns if column.verdict == "drifted"]


def to_json(report: Report) -> bytes:
    """The JSON twin, indented; times as RFC 3339, a number that is not finite as null."""
    return msgspec.json.format(msgspec.json.encode(report), indent=1)


def from_json(payload: bytes) -> Report:
    """The inverse of `to_json`. Raises ReportError for anything else."""
    try:
        return msgspec.json.decode(payload, type=Report)
    except msgspec.MsgspecError as error:
        raise ReportError(f"not a report of format {FORMAT_VERSION}: {error}") from error
