"""What the watch found, as anyone may learn it: its verdicts and alarms in the store, its gauges over HTTP."""

from __future__ import annotations

import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from churn.contract import Contract
from churn.store import PredictionStore


@dataclass(frozen=True, slots=True)
class WindowSeen:
    """One judged window. `drifted` names its columns, most significant first."""

    number: int
    rows: int
    state: str
    end: str
    drifted: tuple[str, ...]

    def line(self) -> str:
        found = "drift in " + ", ".join(self.drifted) if self.drifted else "no drift"
        return f"window {self.number + 1}: {self.rows} rows, {self.state}, {found}"


@dataclass(frozen=True, slots=True)
class Watched:
    """The windows of one run in order, the alarms (column, end of the window that opened it), and a count of gauges."""

    windows: Sequence[WindowSeen]
    alarms: Sequence[tuple[str, str]]
    gauges: int

    def alarmed_before(self, end: str) -> list[str]:
        """The columns whose alarm opened at or before a window's end."""
        return sorted({column for column, opened_at in self.alarms if opened_at <= end})

    def alarmed(self) -> list[str]:
        return sorted({column for column, _ in self.alarms})


def watched(watch_url: str, store: PredictionStore, contract: Contract, run_id: str) -> Watched:
    """What is known now; more windows come as the watch judges them."""
    prefix = f"{contract.name}/{run_id}/"
    windows = sorted((_window(d) for d in store.documents("verdict", prefix)), key=lambda window: window.number)
    alarms = [(str(d["column"]), str(d["opened_at"])) for d in store.documents("alarm", prefix)]
    return Watched(windows, alarms, _gauges(f"{watch_url}/metrics", run_id))


def _window(document: Mapping[str, Any]) -> WindowSeen:
    return WindowSeen(
        number=int(document["number"]),
        rows=int(document["rows"]),
        state=str(document["state"]),
        end=str(document["end"]),
        drifted=tuple(document["drifted"]),
    )


def _gauges(url: str, run_id: str) -> int:
    """How many samples of ours the endpoint serves; 0 while it does not answer."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310  # our own loopback address
            text = answer.read().decode()
    except OSError:
        return 0
    families = text_string_to_metric_families(text)
    return sum(len(family.samples) for family in families if family.name.startswith("churnwatch_"))
