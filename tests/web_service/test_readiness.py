"""GET /ready: what each part says, and when the service says that it cannot serve."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from churn.errors import StoreUnavailable
from web_service.readiness import JournalProbe, Readiness


class Store:
    """A store that is away when told so, and slow when told so."""

    def __init__(self) -> None:
        self.is_away = False
        self.looks = 0
        self.go_on = threading.Event()
        self.go_on.set()

    def check(self) -> None:
        self.looks += 1
        self.go_on.wait(5)
        if self.is_away:
            raise StoreUnavailable("MongoDB cannot be reached")


class Seconds:
    """A monotonic clock that the test turns."""

    time = 100.0

    def __call__(self) -> float:
        return self.time


def readiness(service: Any, directory: Path, store: Store, seconds: Seconds, refusal: str | None = None) -> Readiness:
    return Readiness(service.model, JournalProbe(directory, lambda: refusal), store, seconds)  # type: ignore[arg-type]


def test_all_is_well(service: Any, tmp_path: Path) -> None:
    assert readiness(service, tmp_path, Store(), Seconds()).check() == {
        "ready": True,
        "model": {"ok": True, "model_run_id": "a" * 32},
        "journal": {"ok": True},
        "store": {"ok": True},
    }


def test_a_store_that_is_away_is_told_but_the_service_is_ready(service: Any, tmp_path: Path) -> None:
    store = Store()
    store.is_away = True

    state = readiness(service, tmp_path, store, Seconds()).check()

    assert state["ready"] is True
    assert state["store"] == {"ok": False, "reason": "answers wait in the journal; MongoDB cannot be reached"}


def test_the_store_is_looked_at_every_five_seconds(service: Any, tmp_path: Path) -> None:
    store, seconds = Store(), Seconds()
    ready = readiness(service, tmp_path, store, seconds)

    for step in (0, 1, 3.9, 0.2):
        seconds.time += step
        ready.check()

    assert store.looks == 2


def test_while_one_looks_at_a_slow_store_the_others_do_not_wait(service: Any, tmp_path: Path) -> None:
    store, seconds = Store(), Seconds()
    ready = readiness(service, tmp_path, store, seconds)
    ready.check()
    seconds.time += 6
    store.go_on.clear()
    store.is_away = True
    slow = threading.Thread(target=ready.check)
    slow.start()
    while store.looks < 2:
        pass

    assert ready.check()["store"] == {"ok": True}

    store.go_on.set()
    slow.join()
    assert ready.check()["store"]["ok"] is False


def test_a_journal_that_refused_and_still_cannot_be_written_is_not_ready(service: Any, tmp_path: Path) -> None:
    state = readiness(service, tmp_path / "gone", Store(), Seconds(), refusal="its disk is full").check()

    assert state["ready"] is False
    assert state["journal"] == {"ok": False, "reason": "its disk is full"}


def test_a_journal_that_refused_but_can_be_written_again_is_ready(service: Any, tmp_path: Path) -> None:
    assert readiness(service, tmp_path, Store(), Seconds(), refusal="its disk is full").check()["ready"] is True


def test_a_refused_model_is_told(service: Any, tmp_path: Path) -> None:
    service.model.refuse("b" * 32, "golden answer 0 differs")

    state = readiness(service, tmp_path, Store(), Seconds()).check()

    assert state["ready"] is True
    assert state["model"] == {
        "ok": False,
        "model_run_id": "a" * 32,
        "reason": "serving the old model; golden answer 0 differs",
    }
