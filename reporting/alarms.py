"""The watch's alarms that rang in a window. They come through the store, where the watch keeps them."""

from __future__ import annotations

import msgspec

from churn.store.interface import PredictionStore
from reporting.document import WatchAlarm
from reporting.window import Window

KIND = "alarm"
MOST_READ = 500


def alarms_in(store: PredictionStore, contract: str, run: str, window: Window) -> list[WatchAlarm]:
    """Alarms of this contract and run that were open at some moment of the window, oldest first.

    A record that has another shape than an alarm of today is passed over.
    """
    found = []
    for document in store.documents(KIND, f"{contract}/{run}/", limit=MOST_READ):
        try:
            alarm = msgspec.convert(document, WatchAlarm)
        except msgspec.ValidationError:
            continue
        if alarm.opened_at <= window.end and (alarm.closed_at is None or alarm.closed_at > window.start):
            found.append(alarm)
    return sorted(found, key=lambda alarm: (alarm.opened_at, alarm.cause))
