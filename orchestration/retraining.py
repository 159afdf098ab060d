"""A retraining: claim, new version of features, tuning, evidence, notice. The steps come as arguments, so that
retrain_flow.py can make them Prefect tasks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import structlog

from churn.errors import ChurnwatchError
from churn.feature_store import Manifest
from churn.store import PredictionStore
from orchestration.claims import NothingNew, Rules, claim
from orchestration.promotion import Promoted, Request

if TYPE_CHECKING:
    from orchestration.tuning import Tuned

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Steps:
    """What a retraining does, in this order. `judge` moves the champion only where it was told that it may."""

    publish: Callable[[], Manifest]
    tune: Callable[[str], Tuned]
    judge: Callable[[str], Promoted]
    tell: Callable[[Notice], object]


@dataclass(frozen=True, slots=True)
class Notice:
    """What became of a retraining. `outcome` is promoted, fit, unfit or refused by
    the gates, nothing new, no alarm, not begun, or failed."""

    contract: str
    reason: str
    outcome: str
    sentence: str
    features_version: str = ""
    labelled_requests: int = 0
    run_id: str = ""
    replaced_run_id: str = ""
    test_auc: float | None = None
    evidence: str = ""
    failed_gates: tuple[str, ...] = ()
    seconds: float = 0.0

    def to_document(self) -> dict[str, Any]:
        return asdict(self) | {"failed_gates": list(self.failed_gates)}


def retrain(
    contract: str,
    reason: str,
    store: PredictionStore,
    steps: Steps,
    rules: Rules,
    now: Callable[[], datetime],
    force: bool = False,
) -> Notice:
    """Do it, and tell of it, also when it fails. Raises RetrainingRefused when nothing began, or a step's error."""
    with claim(store, contract, reason, rules, now, force) as finish:
        began = now()
        try:
            notice = _done(contract, reason, steps, began, now)
            finish(notice.outcome, notice.to_document())
        except NothingNew as error:  # no failure: labels come late, and the short cool-down counts
            notice = Notice(contract, reason, "nothing new", str(error), seconds=_since(began, now))
        except BaseException as error:  # whatever it is, a timeout or a cancellation too: somebody must hear of it
            try:
                steps.tell(Notice(contract, reason, "failed", _words(error), seconds=_since(began, now)))
            except Exception:  # the failure itself says more, and is what is raised
                log.exception("retraining_notice_not_given", contract=contract)
            raise
        steps.tell(notice)
    return notice


def judging(auto_promote: bool, requests: int) -> Request:
    """The evidence to ask for. Without `auto_promote` nothing moves; nothing here can force what fails its gates."""
    return Request("retrain", "a retrained challenger", requests, force=False, move=auto_promote)


def _done(contract: str, reason: str, steps: Steps, began: datetime, now: Callable[[], datetime]) -> Notice:
    manifest = steps.publish()
    tuned = steps.tune(manifest.version)
    done = steps.judge(tuned.best.run_id)
    record = done.record
    return Notice(
        contract=contract,
        reason=reason,
        outcome=record.outcome,
        sentence=_sentence(done),
        features_version=manifest.version,
        labelled_requests=int(manifest.validation["log"]["rows"]),
        run_id=tuned.best.run_id,
        replaced_run_id=record.evidence.champion_run_id or "",
        test_auc=tuned.test["auc"],
        evidence=done.folder,
        failed_gates=tuple(gate.name for gate in record.failed),
        seconds=_since(began, now),
    )


def _sentence(done: Promoted) -> str:
    record, run_id = done.record, done.record.evidence.run_id
    if record.outcome == "promoted":
        return f"run {run_id} passed every gate and is the champion (AUTO_PROMOTE)"
    if record.outcome == "fit":
        return f"run {run_id} waits as challenger; to let it go live: python -m orchestration promote {run_id}"
    failed = "; ".join(f"{gate.name}: {gate.sentence}" for gate in record.failed)
    return f"run {run_id} is no better choice, nothing was changed. {failed}"


def _words(error: BaseException) -> str:
    """Our own errors are whole sentences. Those of others may hold anything, which a webhook need not get."""
    if isinstance(error, ChurnwatchError):
        return str(error)
    return f"it ended with {type(error).__name__}; the run's log in Prefect says more"


def _since(began: datetime, now: Callable[[], datetime]) -> float:
    return round((now() - began).total_seconds(), 1)
