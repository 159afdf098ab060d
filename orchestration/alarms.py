"""The watch's alarms, as it keeps them in the store: rooms do not import one another."""

from __future__ import annotations

from datetime import datetime, timedelta

from churn.store import PredictionStore

KIND = "alarm"
LATELY = timedelta(days=1)


def ringing(store: PredictionStore, contract: str, now: datetime) -> list[str]:
    """What rings for runs that answered within a day, oldest first; alarms of runs that were replaced never close."""
    found = []
    for name, run_id in store.runs(now - LATELY, now):
        if name == contract:
            documents = store.documents(KIND, f"{contract}/{run_id}/", newest_first=False)
            found += [str(one["summary"]) for one in documents if one["closed_at"] is None]
    return found
