"""The right to retrain a contract: never two at once, and never too soon after the last.

A lease in the store, renewed while the training lives, so that of several triggers at once one wins; and a document
beside it that says until when none may begin, so that one drift does not start ten trainings, restart or not.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog

from churn.errors import DataError, Refused, StoreUnavailable
from churn.store import PredictionStore
from orchestration.turns import TurnTaken, turn

log = structlog.get_logger()

TURN_SECONDS = 600.0
"""Who is silent for so long has died; a retraining that another trigger asks for may then begin."""
KIND = "retraining"

Finish = Callable[[str, Mapping[str, Any]], None]
"""Takes the outcome, and what was told of it."""


class RetrainingRefused(Refused):
    """Nothing was started: a retraining is under way, or the last one was too lately."""


class NothingNew(DataError):
    """Too few labelled requests to learn anything from."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How long none may begin after a retraining that was done, and after one that was not."""

    cooldown_seconds: float
    retry_seconds: float


@contextlib.contextmanager
def claim(
    store: PredictionStore, contract: str, reason: str, rules: Rules, now: Callable[[], datetime], force: bool = False
) -> Iterator[Finish]:
    """Hold the contract's turn; what it gives notes the retraining as done, which begins the long cool-down.

    Without that note (it failed, or died) the short one counts, from the beginning. `force` ignores a cool-down,
    never another retraining that is under way.
    """
    try:
        with turn(store, KIND, contract, now, TURN_SECONDS) as keep:
            if not force and (why := cooling(store, contract, now())):
                raise RetrainingRefused(f"{why}; --force does not wait")
            began = now()
            _note(store, contract, reason, "begun", began + timedelta(seconds=rules.retry_seconds), began, {})

            def finish(outcome: str, told: Mapping[str, Any]) -> None:
                until = now() + timedelta(seconds=rules.cooldown_seconds)
                _note(store, contract, reason, outcome, until, began, told)

            with _kept(keep):
                yield finish
    except TurnTaken as error:
        raise RetrainingRefused(str(error)) from error


def cooling(store: PredictionStore, contract: str, now: datetime) -> str:
    """Why no retraining may begin yet, as a sentence; empty when one may."""
    last = store.document(KIND, contract)
    if last is None or now >= datetime.fromisoformat(last["until"]):
        return ""
    return (
        f"{contract} was last retrained at {last['began_at'][:19]} for {last['reason']} ({last['outcome']}); "
        f"the next may begin at {last['until'][:19]} UTC"
    )


def _note(
    store: PredictionStore,
    contract: str,
    reason: str,
    outcome: str,
    until: datetime,
    began: datetime,
    told: Mapping[str, Any],
) -> None:
    document = {
        "key": contract,
        "reason": reason,
        "outcome": outcome,
        "began_at": began.isoformat(),
        "until": until.isoformat(),
        "told": dict(told),
    }
    store.put_document(KIND, contract, document, replace=True)


@contextlib.contextmanager
def _kept(keep: Callable[[], None]) -> Iterator[None]:
    """Renew the turn in the background: one step, the tuning, takes as long as it takes."""
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(TURN_SECONDS / 5):
            try:
                keep()
            except StoreUnavailable as error:  # it lasts for five such outages
                log.warning("retraining_turn_not_renewed", reason=str(error))
            except TurnTaken as error:  # this process was paused for long: the other one goes on too
                log.error("retraining_turn_lost", reason=str(error))
                return

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
