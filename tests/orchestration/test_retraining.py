"""A retraining from its claim to its notice; the steps are doubles, the store is real."""

from __future__ import annotations

import os
import threading
import uuid
from asyncio import CancelledError
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from churn.bundle import Bundle
from churn.errors import FeatureStoreUnavailable
from churn.scoring import Scorer
from churn.store import PredictionStore, open_store
from monitoring.alarms import ALARM_KIND, Alarm, Cause
from orchestration.alarms import ringing
from orchestration.claims import KIND, NothingNew, RetrainingRefused, Rules, claim, cooling
from orchestration.retraining import Notice, Steps, retrain
from tests.fakes import Clock, random_customers, records

RULES = Rules(cooldown_seconds=86_400, retry_seconds=3_600)


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'store.db'}"


@pytest.fixture
def store(address: str) -> PredictionStore:
    return opened(address)


def opened(address: str) -> PredictionStore:
    store = open_store(address, timeout_seconds=15)  # a busy machine builds indexes slowly
    store.check()
    return store


MONGODB = [pytest.param("mongodb", marks=pytest.mark.integration)] if os.environ.get("MONGODB_URI") else []


@pytest.fixture(params=["sqlite", *MONGODB])
def shared(request: pytest.FixtureRequest, address: str) -> Iterator[str]:
    """The address of a store that several processes would open."""
    if request.param == "sqlite":
        yield address
        return
    from pymongo import MongoClient

    server, name = os.environ["MONGODB_URI"], f"churnwatch_test_{uuid.uuid4().hex[:8]}"
    yield f"{server.rstrip('/')}/{name}"
    with MongoClient[dict[str, Any]](server) as client:
        client.drop_database(name)


class Office:
    """What the steps did, in order. `failing` is raised by the tuning."""

    def __init__(self, outcome: str = "fit", failing: BaseException | None = None) -> None:
        self.outcome, self.failing = outcome, failing
        self.done: list[str] = []
        self.notices: list[Notice] = []

    def steps(self) -> Steps:
        return Steps(self.publish, self.tune, self.judge, self.notices.append)

    def publish(self) -> Any:
        self.done.append("publish")
        return SimpleNamespace(version="v1", validation={"log": {"rows": 321}})

    def tune(self, version: str) -> Any:
        self.done.append(f"tune {version}")
        if self.failing:
            raise self.failing
        return SimpleNamespace(best=SimpleNamespace(run_id="c" * 32), test={"auc": 0.97})

    def judge(self, run_id: str) -> Any:
        self.done.append(f"judge {run_id[:2]}")
        evidence = SimpleNamespace(champion_run_id="d" * 32, run_id=run_id)
        failed = [SimpleNamespace(name="champion", sentence="it is worse")] if self.outcome == "unfit" else []
        record = SimpleNamespace(outcome=self.outcome, evidence=evidence, failed=failed)
        return SimpleNamespace(record=record, folder="promotion/20260131T120000Z")


def run(store: PredictionStore, office: Office, clock: Callable[[], datetime], **more: Any) -> Notice:
    return retrain("shop", "alert FeatureDrift", store, office.steps(), RULES, clock, **more)


def test_it_publishes_tunes_judges_and_tells(store: PredictionStore) -> None:
    office, clock = Office(), Clock()
    notice = run(store, office, clock)

    assert office.done == ["publish", "tune v1", "judge cc"]
    assert office.notices == [notice]
    assert (notice.outcome, notice.run_id, notice.labelled_requests) == ("fit", "c" * 32, 321)
    assert notice.sentence == (
        f"run {'c' * 32} waits as challenger; to let it go live: python -m orchestration promote {'c' * 32}"
    )


def test_one_drift_does_not_start_ten_trainings_restarts_among_them(shared: str) -> None:
    """Ten triggers over a day, each from a process that has just opened the store."""
    clock, office, refused = Clock(), Office(), []
    for _ in range(10):
        store = opened(shared)
        try:
            run(store, office, clock)
        except RetrainingRefused as error:
            refused.append(str(error))
        store.close()
        clock.advance(8_000)

    assert len(office.notices) == 1
    assert len(refused) == 9
    assert refused[0] == (
        "shop was last retrained at 2026-01-31T12:00:00 for alert FeatureDrift (fit); the next may begin at "
        "2026-02-01T12:00:00 UTC; --force does not wait"
    )
    clock.advance(86_400)
    assert run(opened(shared), office, clock).outcome == "fit"


def test_of_ten_triggers_at_once_one_trains(shared: str) -> None:
    clock, office = Clock(), Office()
    together, refused = threading.Barrier(10), list[str]()

    def trigger() -> None:
        store = opened(shared)
        together.wait()
        try:
            run(store, office, clock)
        except RetrainingRefused as error:
            refused.append(str(error))
        store.close()

    threads = [threading.Thread(target=trigger) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (office.done.count("publish"), len(refused)) == (1, 9)


def test_force_ends_the_wait_but_never_joins_one_that_runs(store: PredictionStore) -> None:
    clock, office = Clock(), Office()
    run(store, office, clock)
    run(store, office, clock, force=True)
    with (
        claim(store, "shop", "another", RULES, clock, force=True),
        pytest.raises(RetrainingRefused, match="another retraining of shop is under way"),
    ):
        run(store, office, clock, force=True)

    assert len(office.notices) == 2


def test_contracts_do_not_wait_for_one_another(store: PredictionStore) -> None:
    clock, office = Clock(), Office()
    run(store, office, clock)

    assert cooling(store, "other", clock()) == ""


def test_a_failure_is_told_and_tried_again_sooner(store: PredictionStore) -> None:
    clock, office = Clock(), Office(failing=FeatureStoreUnavailable("no S3 here"))
    with pytest.raises(FeatureStoreUnavailable):
        run(store, office, clock)

    assert [(one.outcome, one.sentence) for one in office.notices] == [("failed", "no S3 here")]
    clock.advance(3_000)
    with pytest.raises(RetrainingRefused, match=r"\(begun\); the next may begin at 2026-01-31T13:00:00 UTC"):
        run(store, Office(), clock)
    clock.advance(700)
    assert run(store, Office(), clock).outcome == "fit"


@pytest.mark.parametrize("failure", [ZeroDivisionError("secret"), CancelledError("secret"), KeyboardInterrupt()])
def test_a_retraining_that_ends_as_nobody_foresaw_is_told_too(store: PredictionStore, failure: BaseException) -> None:
    """A flow's timeout arrives as a CancelledError of asyncio, which is no Exception."""
    office = Office(failing=failure)
    with pytest.raises(type(failure)):
        run(store, office, Clock())

    (notice,) = office.notices
    assert notice.outcome == "failed"
    assert notice.sentence == f"it ended with {type(failure).__name__}; the run's log in Prefect says more"


def test_nothing_new_is_no_failure(store: PredictionStore) -> None:
    office = Office(failing=NothingNew("too few labels"))

    assert run(store, office, Clock()).outcome == "nothing new"


def test_who_died_while_training_holds_up_the_next_for_the_short_wait_only(store: PredictionStore) -> None:
    """A killed process neither gives its turn back nor notes an outcome."""
    clock = Clock()
    until = clock() + timedelta(hours=1)
    began = {"reason": "drift", "outcome": "begun", "began_at": clock().isoformat(), "until": until.isoformat()}
    store.acquire_shard("retrainings", "shop", "dead", clock(), 600)
    store.put_document(KIND, "shop", {"key": "shop", "told": {}} | began)

    with pytest.raises(RetrainingRefused, match="under way"):
        run(store, Office(), clock)
    clock.advance(3_601)
    assert run(store, Office(), clock).outcome == "fit"


def test_a_candidate_that_failed_its_gates_is_told_with_the_reasons(store: PredictionStore) -> None:
    notice = run(store, Office("unfit"), Clock())

    assert (notice.outcome, notice.failed_gates) == ("unfit", ("champion",))
    assert notice.sentence.endswith("nothing was changed. champion: it is worse")


def test_the_watchs_alarms_are_found_in_the_store(store: PredictionStore, bundle: Bundle) -> None:
    """As the watch writes them: one rings, one has ended, one is of a run that answers no more."""
    clock = Clock()
    fields = records(random_customers(bundle.contract, 1), bundle.contract)
    store.save(Scorer(bundle, clock).score(fields, "http", ["p1"]))  # type: ignore[arg-type]  # it is valid
    for run_id, column, closed_at in ((bundle.run_id, "a", None), (bundle.run_id, "b", clock()), ("e" * 32, "c", None)):
        cause = Cause(f"drift:{column}", column, "drift", "page", f"{column} drifted")
        alarm = Alarm("credit_card", run_id, cause, clock(), "w1", 2, closed_at)
        store.put_document(ALARM_KIND, alarm.key, alarm.to_document())

    clock.advance(3_600)
    assert ringing(store, "credit_card", clock()) == ["a drifted"]
    assert ringing(store, "other", clock()) == []
    clock.advance(2 * 86_400)
    assert ringing(store, "credit_card", clock()) == []
