"""What the demo is about, what happened in it, and whether that is what must happen."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from churn.contract import Contract
from churn.errors import ChurnwatchError
from simulation.senders import Sent
from simulation.shifts import Shift
from simulation.watched import Watched


class DemoFailed(ChurnwatchError):
    """A step failed, or the counts do not agree."""


@dataclass(frozen=True)
class Script:
    """What is played. Half of each route's rows are sent as they are, half shifted."""

    contract: str
    data: Path | None = None
    shift: str = "mean_shift"
    trials: int = 10
    http_rows: int = 1_000
    stream_rows: int = 2_000
    window_rows: int = 500

    @property
    def rows(self) -> int:
        return self.http_rows + self.stream_rows

    @property
    def stay(self) -> str:
        """The command that serves what was trained here."""
        return "make up" if self.contract == "credit_card" else f"make up CONTRACT={self.contract}"

    @property
    def quiet_windows(self) -> int:
        """Windows judged before the shift begins."""
        return self.rows // 2 // self.window_rows


@dataclass
class Played:
    """What happened, act by act; the summary is written from it."""

    ingested: dict[str, Any] = field(default_factory=dict)
    tuned: dict[str, Any] = field(default_factory=dict)
    shift: Shift | None = None
    http: list[Sent] = field(default_factory=list)
    stream: list[Sent] = field(default_factory=list)
    results: int = 0
    conflicts: int = 0
    logged: dict[str, int] = field(default_factory=dict)
    began: datetime = datetime.min
    watched: Watched | None = None
    report: str = ""

    @property
    def answered(self) -> dict[str, int]:
        return {"http": sum(sent.answered for sent in self.http), "stream": self.results}

    @property
    def shifted(self) -> list[str]:
        return sorted(self.shift.columns) if self.shift else []


def summary(script: Script, played: Played, contract: Contract, run_id: str) -> list[tuple[str, str]]:
    """The lines of the table at the end."""
    found = played.watched or Watched([], [], 0)
    quiet = found.windows[: script.quiet_windows]
    sent = {"http": sum(s.sent for s in played.http), "stream": sum(s.sent for s in played.stream)}
    answered = played.answered
    tuned = played.tuned
    begun = tuned["trials"] + tuned["pruned"] + tuned["failed"]
    rows = [
        ("contract", f"{contract.name} ({contract.hash})"),
        ("rows", f"{played.ingested['rows']:,} in version {played.ingested['version']}"),
        ("trials", f"{begun}, of which {tuned['pruned']} pruned, {tuned['failed']} failed"),
        ("best AUC", f"{tuned['test_auc']:.4f} on the test rows"),
        ("RUN_ID", run_id),
    ]
    for route in ("http", "stream"):
        counts = f"{sent[route]:,} sent, {answered[route]:,} answered, {played.logged[route]:,} logged"
        rows.append((f"predictions, {route}", counts))
    return [
        *rows,
        ("columns shifted", ", ".join(played.shifted) or "none"),
        ("columns alarmed", ", ".join(found.alarmed()) or "none"),
        (
            "quiet windows",
            f"{len(quiet)}, of which {sum(bool(window.drifted) for window in quiet)} with drift; "
            f"{len(found.alarmed_before(quiet[-1].end))} alarms",
        ),
        ("report", played.report),
        ("to let it stay", f"{script.stay}   (HTTP, stream, watch, MLflow and Prefect pages; Ctrl-C ends it)"),
    ]


def disagreements(script: Script, played: Played) -> list[str]:
    """What happened and must not have, in words; empty when all is right."""
    found = played.watched or Watched([], [], 0)
    wrong = []
    for route, rows in {"http": script.http_rows, "stream": script.stream_rows}.items():
        answered, logged = played.answered[route], played.logged[route]
        if not rows == answered == logged:
            wrong.append(f"{route}: {rows} sent, {answered} answered, {logged} logged")
    if played.conflicts:
        wrong.append(f"{played.conflicts} events were answered twice with different prediction ids")
    if early := found.alarmed_before(found.windows[script.quiet_windows - 1].end):
        wrong.append(f"alarms before the shift: {', '.join(early)}")
    if found.alarmed() != played.shifted:
        wrong.append(f"columns shifted {played.shifted}, columns alarmed {found.alarmed()}")
    return wrong
