"""What may go wrong in a trial, and what becomes of its tuning. Rows, models and bundles are real, MLflow is not."""

from __future__ import annotations

import errno
import json
import pickle
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from churn.contract import Contract
from churn.errors import DataError, FeatureStoreUnavailable, FolderUnusable, RegistryUnavailable, SettingError
from orchestration import families, trials
from orchestration.families.family import fit_folds
from orchestration.families.sklearn_families import DecisionTreeFamily
from orchestration.outcome import Outcome
from orchestration.referee import PATIENT, Bar, Pruned, Strict, TrialTimedOut
from orchestration.training import TrainingSet
from orchestration.trials import Assignment, DataSpec, Work, run_trial, within
from orchestration.tuning import Plan, in_threads, tune
from orchestration.tunings import (
    FAMILY_TAG,
    NUMBER_TAG,
    OUTCOME_TAG,
    PARAMETERS_TAG,
    Interrupted,
    NothingToResume,
    read_outcomes,
)
from tests.fakes import Clock, random_customers
from tests.memory_tracker import MemoryTracker
from tests.orchestration.test_training import MANIFEST, tuned_with

START = DecisionTreeFamily.start


class Faulty(DecisionTreeFamily):
    """Meets a fault when it is to be fitted."""

    def __init__(self, fault: Callable[[], Any]) -> None:
        super().__init__(1)
        self._fault = fault

    def cross_validate(self, *given: Any, **more: Any) -> Any:
        self._fault()
        return super().cross_validate(*given, **more)


@pytest.fixture(scope="module")
def data(credit_card: Contract) -> TrainingSet:
    return TrainingSet(credit_card, MANIFEST, random_customers(credit_card, 600), seed=7, folds=3).prepare()


@pytest.fixture
def tracker(tmp_path: Path) -> MemoryTracker:
    return MemoryTracker(tmp_path)


def work(data: TrainingSet, tracker: Any, fault: Callable[[], Any] = lambda: None, **more: Any) -> Work:
    return Work(data, tracker, "0" * 32, {"decision_tree": Faulty(fault)}, **more)


def raising(error: BaseException) -> Callable[[], None]:
    def fault() -> None:
        raise error

    return fault


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("a library gave up"), "ValueError: a library gave up"),
        (MemoryError("cannot allocate 80 GiB"), "MemoryError: cannot allocate 80 GiB"),
        (OSError(errno.EACCES, "no"), "PermissionError: [Errno 13] no"),
    ],
)
def test_a_trial_that_raises_has_failed_and_its_run_says_why(
    data: TrainingSet, tracker: MemoryTracker, error: Exception, reason: str
) -> None:
    outcome = run_trial(work(data, tracker, raising(error)), 4, "decision_tree", START)

    assert (outcome.status, outcome.reason, outcome.loss) == ("failed", reason, None)
    assert list(tracker.ended.values()) == [outcome]


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (RegistryUnavailable("MLflow is gone"), RegistryUnavailable, "MLflow is gone"),
        (OSError(errno.ENOSPC, "No space left on device"), FolderUnusable, "No space left on device; free space"),
    ],
)
def test_what_every_trial_would_meet_ends_the_tuning_with_nothing_registered(
    data: TrainingSet, tracker: MemoryTracker, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type, says: str
) -> None:
    """In the middle: one trial has been logged whole before."""

    def log(*given: Any) -> str:
        if len(tracker.begun) == 2:
            raise error
        return MemoryTracker.log_candidate(tracker, *given)

    monkeypatch.setattr(tracker, "log_candidate", log)
    with pytest.raises(kind, match=says):
        tuned_with(data, tracker, trials=3, families=("decision_tree",))

    assert [one.number for one in tracker.ended.values()] == [0]
    assert tracker.registered == []


def test_a_trial_that_hangs_is_left_alone(data: TrainingSet, tracker: MemoryTracker) -> None:
    released = threading.Event()
    outcome = run_trial(work(data, tracker, released.wait, timeout_seconds=0.1), 0, "decision_tree", START)
    released.set()

    assert outcome.status == "failed"
    assert outcome.reason == "TrialTimedOut: not done after 0.1 s; raise TRIAL_TIMEOUT_SECONDS if it should be"


def test_a_trials_time_begins_when_it_has_a_core(
    data: TrainingSet, tracker: MemoryTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else those that waited for a round or two would be counted as failed."""
    seen: list[str] = []

    @contextmanager
    def core(*_: Any) -> Iterator[None]:
        seen.append("core")
        yield
        seen.append("free")

    def strict(*given: Any) -> Strict:
        seen.append("clock")
        return Strict(*given)

    monkeypatch.setattr(trials, "one_core", core)
    monkeypatch.setattr(trials, "Strict", strict)
    outcome = run_trial(work(data, tracker, lambda: seen.append("fit")), 0, "decision_tree", START)

    assert outcome.status == "finished"
    assert list(dict.fromkeys(seen)) == ["core", "clock", "fit", "free"]


def test_a_call_within_its_time_answers_or_raises_as_it_would() -> None:
    assert within(5, lambda: 7) == 7
    with pytest.raises(KeyError):
        within(5, raising(KeyError("x")))


def test_a_fit_that_takes_too_long_ends_between_two_rounds(data: TrainingSet) -> None:
    """The thread that nobody waits for any more does not go on burning a core."""
    clock = Clock()
    seconds = lambda: clock.time.timestamp()  # noqa: E731
    strict = Strict(None, 10.0, seconds)
    strict.between_rounds()
    clock.advance(11)
    (family,) = families.make_families(["xgboost"], 1).values()

    with pytest.raises(TrialTimedOut):
        family.fit(family.start, data.rows.matrix, data.rows.labels, 1_000, 1, strict)


def test_a_hopeless_trial_is_stopped_after_its_first_folds(data: TrainingSet, tracker: MemoryTracker) -> None:
    """What it is expected to have lost is the best one's loss and how far it was behind."""
    best = Outcome(0, "finished", "xgboost", {}, 0.01, (0.01, 0.01, 0.01))
    outcome = run_trial(work(data, tracker), 1, "decision_tree", START, best)

    assert (outcome.status, len(outcome.fold_losses)) == ("pruned", 1)
    assert outcome.loss == pytest.approx(outcome.fold_losses[0])
    assert outcome.reason == f"log loss {outcome.fold_losses[0]:.4f} after 1 of 3 folds"
    assert outcome.trial is None


def test_starts_are_never_pruned_and_nothing_is_where_pruning_is_off(data: TrainingSet, tracker: MemoryTracker) -> None:
    best = Outcome(0, "finished", "xgboost", {}, 0.01, (0.01, 0.01, 0.01))

    assert run_trial(work(data, tracker, starts=2), 1, "decision_tree", START, best).status == "finished"
    assert run_trial(work(data, tracker, prune=False), 9, "decision_tree", START, best).status == "finished"


def test_the_bar_compares_the_same_folds() -> None:
    """The first fold is a hard one, for the best trial too."""
    bar = Bar((0.30, 0.10, 0.11), base_rate_loss=0.5)
    bar.judge([0.30])
    bar.judge([0.309])
    bar.judge([0.9, 0.9, 0.9])  # done: nothing is left to be saved
    with pytest.raises(Pruned, match=r"log loss 0\.3200 after 1 of 3 folds") as pruned:
        bar.judge([0.32])
    assert pruned.value.expected_loss == pytest.approx(0.17 + 0.02)


def test_the_more_folds_are_done_the_less_behind_a_trial_may_be() -> None:
    bar = Bar((0.1,) * 5, base_rate_loss=1.1)
    for done, allowed in ((1, 0.049), (2, 0.030), (3, 0.020), (4, 0.012)):
        bar.judge([0.0995 + allowed] * done)
        with pytest.raises(Pruned):
            bar.judge([0.1005 + allowed] * done)


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_folds_are_judged_one_after_the_other_however_many_are_fitted_at_a_time(threads: int) -> None:
    """Those of odd numbers take longer: the ones after them are done first."""
    asked: list[tuple[float, ...]] = []

    class Third:
        def between_rounds(self) -> None:
            """Not asked here."""

        def after_folds(self, fold_losses: Sequence[float]) -> None:
            asked.append(tuple(fold_losses))
            if len(fold_losses) == 3:
                raise Pruned(fold_losses, 0.0, 5)

    def fit(fold: int) -> tuple[str, float]:
        time.sleep(0.02 * (fold % 2))
        return f"model {fold}", float(fold)

    with pytest.raises(Pruned):
        fit_folds(fit, 5, threads, Third())
    assert asked == [(0.0,), (0.0, 1.0), (0.0, 1.0, 2.0)]
    assert fit_folds(fit, 5, threads, PATIENT) == ([f"model {fold}" for fold in range(5)], (0.0, 1.0, 2.0, 3.0, 4.0))


@pytest.mark.integration  # for its length alone
def test_pruning_leaves_the_best_as_it_was(data: TrainingSet, tmp_path: Path) -> None:
    """On the same points: what was pruned would not have won."""
    strict = MemoryTracker(tmp_path)
    tuned = tuned_with(data, strict, trials=14, families=("xgboost", "decision_tree"))
    pruned = [one for one in strict.ended.values() if one.status == "pruned"]
    whole = [
        run_trial(work_of(data, strict, one.family), 100 + one.number, one.family, one.parameters) for one in pruned
    ]

    assert len(whole) == tuned.pruned >= 1
    assert all(one.loss > tuned.best.metrics["cv_log_loss"] for one in whole)  # type: ignore[operator]  # finished


def work_of(data: TrainingSet, tracker: Any, family: str) -> Work:
    return Work(data, tracker, "0" * 32, families.make_families([family], 1))


def test_a_resumed_tuning_finds_what_the_whole_one_found(data: TrainingSet, tmp_path: Path) -> None:
    """The second tracker has what MLflow would hold after a kill in the fourth trial."""
    whole, cut = MemoryTracker(tmp_path / "whole"), MemoryTracker(tmp_path / "cut")
    chosen = ("xgboost", "decision_tree")
    first = tuned_with(data, whole, trials=6, families=chosen)
    tuned_with(data, cut, trials=3, families=chosen)
    interrupted = Interrupted("0" * 32, MANIFEST.version, 7, 3, 6, chosen, str(cut.facts["space_sha256"]))
    plan = Plan(6, chosen, show_progress=False, charts=False)
    again = tune(data, cut, plan, in_threads(data, cut, chosen), interrupted)  # type: ignore[arg-type]  # a double

    assert sorted(cut.begun.values()) == list(range(6))
    assert again.test == first.test
    points = lambda tracker: [(one.number, one.parameters, one.loss) for one in tracker.outcomes("")]  # noqa: E731
    assert points(cut) == points(whole)


def test_another_space_cannot_be_gone_on_with(data: TrainingSet, tracker: MemoryTracker) -> None:
    interrupted = Interrupted("0" * 32, MANIFEST.version, 7, 3, 6, ("logistic",), "other")
    plan = Plan(6, ("logistic",), show_progress=False)

    with pytest.raises(NothingToResume, match=r"the space searched by tuning 0{32} has changed since"):
        tune(data, tracker, plan, in_threads(data, tracker, ("logistic",)), interrupted)  # type: ignore[arg-type]


def test_a_family_whose_library_is_absent_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(families.HOMES, "lightgbm", ("no_such_home", "LightGBMFamily"))

    assert list(families.make_families(["lightgbm", "logistic"])) == ["logistic"]
    with pytest.raises(SettingError, match="at least one family whose library is installed"):
        families.make_families(["lightgbm"])


@pytest.mark.parametrize(("leavers", "says"), [(0, "0 of 600 customers churned"), (600, "0 of 600 customers stayed")])
def test_labels_of_one_class_are_told_before_anything_runs(
    credit_card: Contract, tracker: MemoryTracker, leavers: int, says: str
) -> None:
    frame = random_customers(credit_card, 600).assign(churned=np.arange(600) < leavers)

    with pytest.raises(DataError, match=says):
        tuned_with(TrainingSet(credit_card, MANIFEST, frame, 7), tracker, trials=1)
    assert tracker.begun == {}


def test_a_handful_of_leavers_is_enough_for_every_family(credit_card: Contract, tracker: MemoryTracker) -> None:
    frame: pd.DataFrame = random_customers(credit_card, 400).assign(churned=np.arange(400) % 67 == 0)
    data = TrainingSet(credit_card, MANIFEST, frame, 7, folds=5)
    tuned = tuned_with(data, tracker, trials=5, families=tuple(families.HOMES))

    assert len(data.rows.folds) == int(data.rows.labels.sum()) < 5
    assert {trial.family for trial in tuned.trials} == set(families.HOMES)


def test_what_goes_to_a_worker_is_names_and_numbers(data: TrainingSet) -> None:
    """A contract's text is the most of it; 600 rows alone would be over 100 kB."""
    spec = DataSpec("churnwatch", data.contract.text, "credit_card.toml", MANIFEST.version, 7, 5)
    assignment = Assignment(spec, "http://127.0.0.1:5051", "0" * 32, 1, 5, True, 600.0, 120.0)

    assert len(pickle.dumps(assignment)) < len(data.contract.text) + 1_000
    assert len(pickle.dumps(data.frame)) > 10 * len(pickle.dumps(assignment))


@pytest.mark.parametrize(
    "error",
    [RegistryUnavailable("gone"), FeatureStoreUnavailable("gone"), FolderUnusable(Path("x"), OSError(28, "full"))],
)
def test_what_ends_a_tuning_is_told_from_a_worker_to_whoever_waits(error: Exception) -> None:
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  # as Dask sends it, between processes of one tuning

    assert (type(again), str(again)) == (type(error), str(error))


def runs(*given: tuple[str, int, str]) -> Any:
    """A client of MLflow that knows trial runs: (status, number, outcome as JSON or nothing)."""

    class Page(list[Any]):
        token = None

    class Client:
        def __init__(self) -> None:
            self.closed: list[str] = []

        def get_run(self, run_id: str) -> Any:
            return SimpleNamespace(info=SimpleNamespace(experiment_id="1"))

        def search_runs(self, *_: Any, **__: Any) -> Page:
            page = Page()
            for index, (status, number, outcome) in enumerate(given):
                tags = {NUMBER_TAG: str(number), FAMILY_TAG: "logistic", PARAMETERS_TAG: '{"C": 0.3}'}
                tags |= {OUTCOME_TAG: outcome} if outcome else {}
                info = SimpleNamespace(run_id=f"{index}", status=status)
                page.append(SimpleNamespace(info=info, data=SimpleNamespace(tags=tags, params={}, metrics={})))
            return page

        def set_terminated(self, run_id: str, status: str) -> None:
            assert status == "KILLED"
            self.closed.append(run_id)

    return Client()


def test_what_was_left_open_is_closed_and_a_trial_that_kills_its_process_is_not_tried_for_ever() -> None:
    pruned = Outcome(0, "pruned", "logistic", {"C": 0.3}, 0.5, (0.5,), "hopeless").to_json()
    client = runs(("FINISHED", 0, pruned), ("KILLED", 1, ""), ("KILLED", 1, ""), ("RUNNING", 1, ""), ("RUNNING", 2, ""))

    first, second = read_outcomes(client, "0" * 32)

    assert client.closed == ["3", "4"]
    assert first == Outcome.from_json(pruned)
    assert (second.number, second.status, second.parameters) == (1, "failed", {"C": 0.3})
    assert second.reason == "its process died with it 3 times"


def test_a_trial_that_ran_twice_counts_once_and_half_a_candidate_does_not() -> None:
    """Its worker was taken for dead. A finished outcome without the seal of its bundle is no outcome."""
    twice = [Outcome(0, "failed", "logistic", {}, reason=reason).to_json() for reason in ("first", "second")]
    half = Outcome(1, "finished", "logistic", {}, 0.4, (0.4,)).to_json()

    (only,) = read_outcomes(runs(*(("FINISHED", json.loads(one)["number"], one) for one in (*twice, half))), "0" * 32)

    assert only.reason == "first"


def test_two_tunings_at_once_do_not_mix(data: TrainingSet, tmp_path: Path) -> None:
    trackers = [MemoryTracker(tmp_path / name) for name in ("one", "two")]
    answers: dict[int, Mapping[str, float]] = {}

    def tune_one(which: int) -> None:
        answers[which] = tuned_with(data, trackers[which], trials=3, families=("xgboost",)).test

    threads = [threading.Thread(target=tune_one, args=(which,)) for which in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert answers[0] == answers[1]
