"""Ground truth that comes late: posted to /feedback, or written as a CSV file for `python -m monitoring labels`."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import urllib3

from churn.errors import DataError
from simulation.senders import SendError, pauses, problem_detail
from simulation.truth import EventTruth

COLUMNS = ("prediction_id", "churned", "observed_at")
POST_LIMIT = 1_000


@dataclass(slots=True)
class Delivered:
    """`posted` labels, and `later` ones whose time has not come.

    Of those posted, `matched` found their prediction in the log, and `unknown` did not (yet): post them again.
    """

    posted: int = 0
    later: int = 0
    matched: int = 0
    unknown: int = 0


def due(events: Sequence[EventTruth], now: datetime) -> list[EventTruth]:
    """The events whose label is known at `now` and that have a prediction, the earliest known first."""
    known = [event for event in events if event.prediction_id is not None and event.label_due_at <= now]
    return sorted(known, key=lambda event: (event.label_due_at, event.index))


def post_labels(
    events: Sequence[EventTruth],
    url: str,
    *,
    wait: bool = False,
    api_key: str | None = None,
    retry_seconds: float = 30.0,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    sleep: Callable[[float], Any] = time.sleep,
) -> Delivered:
    """Post the labels that are due; with `wait`, stay until all are. A repeat changes nothing. Raises SendError."""
    waiting = [event for event in events if event.prediction_id is not None]
    delivered = Delivered()
    while waiting:
        ready = due(waiting, now())
        for start in range(0, len(ready), POST_LIMIT):
            part = ready[start : start + POST_LIMIT]
            counts = _post(part, f"{url.rstrip('/')}/feedback", api_key, retry_seconds, sleep)
            delivered.matched += counts.get("matched", 0)
            delivered.unknown += counts.get("unknown", 0)
        done = {event.event_id for event in ready}
        delivered.posted += len(done)
        waiting = [event for event in waiting if event.event_id not in done]
        if not wait or not waiting:
            break
        soonest = min(event.label_due_at for event in waiting)
        sleep(min(1.0, max(0.0, (soonest - now()).total_seconds())))
    delivered.later = len(waiting)
    return delivered


def write_labels(events: Sequence[EventTruth], path: Path) -> int:
    """Write the given events' labels as CSV; returns how many. Raises DataError when the path cannot be written."""
    labels = [label(event) for event in events if event.prediction_id is not None]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows({**entry, "churned": str(entry["churned"]).lower()} for entry in labels)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror or error}; give another --out") from error
    return len(labels)


def label(event: EventTruth) -> dict[str, Any]:
    """Ground truth as /feedback takes it. Known from the time it was due, whenever it is delivered."""
    return {
        "prediction_id": event.prediction_id,
        "churned": event.churned,
        "observed_at": event.label_due_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
    }


def _post(
    events: Sequence[EventTruth], url: str, api_key: str | None, retry_seconds: float, sleep: Callable[[float], Any]
) -> dict[str, int]:
    """Post one group; returns the service's counts of what became of it."""
    body = orjson.dumps([label(event) for event in events])
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {api_key}"} if api_key else {})}
    deadline = time.monotonic() + retry_seconds
    with urllib3.PoolManager(retries=False, timeout=30.0) as pool:
        waits = pauses()
        while True:
            try:
                response = pool.request("POST", url, body=body, headers=headers)
            except urllib3.exceptions.HTTPError as error:
                problem, final = f"{url}: {error}", False
            else:
                if response.status == 200:
                    counts: dict[str, int] = orjson.loads(response.data)
                    return counts
                problem = f"{url} answered {response.status}: {problem_detail(response.data)}"
                final = response.status < 500 and response.status != 429
            if final or time.monotonic() > deadline:
                raise SendError(problem)
            sleep(next(waits))
