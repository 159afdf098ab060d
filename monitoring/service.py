"""The watch as a process: poll, publish, wait; survive an outage of the store, end on SIGTERM."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Any

import structlog
from prometheus_client import CollectorRegistry

from churn.errors import StoreUnavailable
from churn.metrics import WatchMetrics
from monitoring import gauges
from monitoring.gateway import GatewayProbe
from monitoring.judged import Judged
from monitoring.retention import Retention
from monitoring.second_opinion import SecondOpinions
from monitoring.status import status_document
from monitoring.truth import Truth
from monitoring.watch import Watch

log = structlog.get_logger()

SLOWEST_POLLS = 5
"""So many poll intervals without a successful poll, and /health says that the watch is not well."""
HEALTH_GRACE_SECONDS = 60.0
SHOWN_NOTIFICATIONS = 20


class WatchService:
    """Polls in the caller's thread; `status` and `health` may be asked from others."""

    def __init__(
        self,
        watch: Watch,
        registry: CollectorRegistry,
        poll_seconds: float,
        now: Callable[[], datetime],
        opinions: SecondOpinions | None = None,
        gateway: str = "",
    ) -> None:
        """Raises SettingError when `gateway` is neither empty nor HOST:PORT."""
        self.metrics = WatchMetrics(registry)
        self._gateway = GatewayProbe(gateway, self.metrics) if gateway else None
        self._watch = watch
        self._opinions = opinions
        self._truth = Truth(watch.store, watch.decision)
        self._retention = Retention(watch.store, watch.contract, self.metrics.purged, now)
        self._poll_seconds = poll_seconds
        self._now = now
        self._status = status_document([], now()) | {"starting": True}
        self._well_at = now()
        self._trouble = ""
        self._notifications: deque[dict[str, str]] = deque(maxlen=SHOWN_NOTIFICATIONS)

    def status(self) -> dict[str, Any]:
        """The document after the newest poll, with what Alertmanager told us; never altered afterwards."""
        return self._status | {"notifications": list(self._notifications)}

    def notify(self, notification: dict[str, Any]) -> None:
        """Take what Alertmanager's webhook sends; the newest are shown. Raises KeyError for anything else."""
        for alert in notification["alerts"]:
            labels, notes = alert["labels"], alert["annotations"]
            told = {
                "at": self._now().isoformat(timespec="seconds"),
                "status": str(alert["status"]),
                "alert": str(labels["alertname"]),
                "severity": str(labels.get("severity", "")),
                "summary": str(notes.get("summary", "")),
                "figure": str(notes.get("figure", "")),
            }
            self._notifications.appendleft(told)
            log.warning("alertmanager", status=told["status"], alert=told["alert"], summary=told["summary"])

    def health(self) -> str:
        """Empty while polls succeed in time, else what is wrong."""
        silence = (self._now() - self._well_at).total_seconds()
        if silence <= SLOWEST_POLLS * self._poll_seconds + HEALTH_GRACE_SECONDS:
            return ""
        return f"no successful poll for {silence:.0f} s{': ' if self._trouble else ''}{self._trouble}"

    def run(self, stop: threading.Event) -> None:
        """Poll until `stop` is set. An outage of the store is counted, told and waited out."""
        while not stop.is_set():
            if self._gateway is not None:
                self._gateway.look()
            try:
                self.poll()
            except StoreUnavailable as error:
                self._trouble = str(error)
                self.metrics.poll_failures.inc()
                log.warning("poll_failed", reason=self._trouble)
            stop.wait(self._poll_seconds)

    def poll(self) -> list[Judged]:
        """Judge what has closed, publish what is known, delete what is too old. Raises StoreUnavailable."""
        judged = self._watch.poll()
        for window in judged:
            gauges.count_window(self.metrics, window)
            profile = self._watch.profile(window.window)
            if profile is not None:
                gauges.count_bins(self.metrics, window, profile)
        runs = gauges.newest_runs(self._watch.runs.values())
        scores: gauges.Series = {}
        if self._opinions is not None:
            self._opinions.consider(runs, judged)
            scores = self._opinions.scores(runs)
        self._truth.look(runs)
        truths = {(run.contract, run.model_run_id): truth for run in runs if (truth := self._truth.of(run))}
        gauges.show(self.metrics, runs, scores, truths)
        shown = {(run.contract, run.model_run_id) for run in runs}
        profiles = {key: profile for key, profile in self._watch.profiles().items() if key in shown}
        gauges.show_reference_bins(self.metrics, profiles)
        pages = self._opinions.pages(runs) if self._opinions else {}
        self._status = status_document(runs, self._now(), pages, truths)
        self._well_at, self._trouble = self._now(), ""
        self.metrics.last_poll.set(self._well_at.timestamp())
        self._retention.look(sorted({run.contract for run in runs}))
        return judged
