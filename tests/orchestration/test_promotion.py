"""Promotion and rollback with a real store and real bundles; MLflow is a dictionary."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from churn.bundle import Bundle
from churn.contract import Contract, parse_contract
from churn.errors import BundleRefused, FeatureStoreUnavailable, RunNotFound
from churn.prediction import Label
from churn.registry import CHAMPION, DIGEST_TAG, PREVIOUS, RegisteredModel, Registry
from churn.scoring import Scorer
from churn.store import PredictionStore, open_store
from orchestration.gates import Limits
from orchestration.promotion import (
    Desk,
    Promoted,
    PromotionRefused,
    PromotionUnderWay,
    Request,
    promote,
    rollback,
    turn,
)
from orchestration.retraining import judging
from tests.fakes import Clock, make_bundle, random_customers, records

LIMITS = Limits(calibration_error=0.1, latency_seconds=5.0)
WEAK, GOOD, TWIN = "1" * 32, "2" * 32, "3" * 32


class MemoryMlflow(Registry):
    """Runs, tags, aliases and files in memory; both what is read and what is written."""

    def __init__(self, bundles: Mapping[str, Bundle]) -> None:
        self.bundles = dict(bundles)
        self.aliases: dict[str, str] = {}
        self.tags: dict[str, dict[str, str]] = {run_id: {} for run_id in bundles}
        self.logged: dict[str, dict[str, bytes]] = {}

    def resolve(self, run_or_alias: str, contract: str) -> RegisteredModel:
        run_id = self.aliases.get(run_or_alias, run_or_alias)
        if run_id not in self.bundles:
            raise RunNotFound(run_or_alias, "memory")
        bundle = self.bundles[run_id]
        tags = {DIGEST_TAG: bundle.digest, **self.tags[run_id]}
        return RegisteredModel(run_id, f"m-{run_id}", bundle.digest, "credit_card", bundle.contract.sha256, tags)

    def download(self, model: RegisteredModel, folder: Path) -> None:
        source = self.bundles[model.run_id].folder
        if not source.is_dir():
            raise BundleRefused(model.run_id, "bundle.json is gone")
        for path in source.iterdir():
            shutil.copy(path, folder)

    def log(self, model: RegisteredModel, folder: str, files: dict[str, bytes]) -> None:
        self.logged[f"{model.run_id}/{folder}"] = files

    def tag(self, run_id: str, tags: dict[str, str], remove: tuple[str, ...] = ()) -> None:
        self.tags[run_id] = {k: v for k, v in self.tags[run_id].items() if k not in remove} | tags

    def make_champion(self, model: RegisteredModel, replaced: RegisteredModel | None) -> int:
        if replaced:
            self.aliases[PREVIOUS] = replaced.run_id
        self.aliases[CHAMPION] = model.run_id
        return 1

    def step_back(self, previous: RegisteredModel) -> None:
        self.aliases[CHAMPION] = previous.run_id
        del self.aliases[PREVIOUS]


class NoFeatures:
    """A feature store that is down."""

    def read(self, contract: str, version: str) -> Any:
        raise FeatureStoreUnavailable("no S3 here")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    """A weak model, a good one, and the good one once more."""
    folder = tmp_path_factory.mktemp("bundles")
    return {
        run_id: make_bundle(folder / run_id, rounds=rounds, run_id=run_id, rows=2_000)
        for run_id, rounds in ((WEAK, 1), (GOOD, 25), (TWIN, 25))
    }


@pytest.fixture(scope="module")
def full_log(tmp_path_factory: pytest.TempPathFactory, bundles: dict[str, Bundle]) -> Path:
    """1,500 logged requests, all labelled."""
    path, clock = tmp_path_factory.mktemp("log") / "store.db", Clock()
    clock.advance(-3_600)
    store, contract = open_store(f"sqlite:///{path}"), bundles[WEAK].contract
    store.check()
    frame = random_customers(contract, 1_500, seed=11)
    for first in range(0, 1_500, 100):
        clock.advance(60)
        part = frame.iloc[first : first + 100]
        ids = [f"{first + i:032d}" for i in range(100)]
        store.save(Scorer(bundles[WEAK], clock).score(records(part, contract), "stream", ids))  # type: ignore[arg-type]
        store.label(
            [
                Label(prediction_id=i, churned=bool(c), observed_at=clock())
                for i, c in zip(ids, part["churned"], strict=True)
            ]
        )
    store.close()
    return path


@pytest.fixture
def mlflow(bundles: dict[str, Bundle]) -> MemoryMlflow:
    return MemoryMlflow(bundles)


@pytest.fixture
def desk(mlflow: MemoryMlflow, full_log: Path, tmp_path: Path) -> Desk:
    for path in full_log.parent.glob("store.db*"):
        shutil.copy(path, tmp_path)
    return desk_at(tmp_path, mlflow)


def desk_at(folder: Path, mlflow: MemoryMlflow) -> Desk:
    store: PredictionStore = open_store(f"sqlite:///{folder / 'store.db'}")
    store.check()
    return Desk(mlflow, mlflow, store, NoFeatures(), folder / "cache", Clock())  # type: ignore[arg-type]  # doubles


def put(desk: Desk, run_id: str, contract: Contract, **request: Any) -> Promoted:
    model = desk.registry.resolve(run_id, "credit_card")
    return promote(model, contract, Request("ann", "because", **request), LIMITS, desk)


def failed(promoted: Promoted) -> list[str]:
    return [gate.name for gate in promoted.record.failed]


def test_the_first_champion_needs_no_rival(desk: Desk, mlflow: MemoryMlflow, credit_card: Contract) -> None:
    done = put(desk, GOOD, credit_card)
    evidence = done.record.evidence

    assert (done.record.outcome, failed(done)) == ("promoted", [])
    assert mlflow.aliases == {CHAMPION: GOOD}
    assert mlflow.resolve(GOOD, "").approval_problem == ""
    assert (evidence.requests.rows, evidence.requests.routes, evidence.requests.flips) == (
        1_500,
        {"stream": 1_500},
        None,
    )
    assert evidence.truth.source == "1,500 logged requests with mature labels"


def test_a_better_model_takes_over_and_the_old_one_is_kept(
    desk: Desk, mlflow: MemoryMlflow, credit_card: Contract
) -> None:
    put(desk, WEAK, credit_card)
    done = put(desk, GOOD, credit_card)
    found = done.record.evidence

    assert mlflow.aliases == {CHAMPION: GOOD, PREVIOUS: WEAK}
    assert found.truth.difference["log_loss"].high < 0
    assert found.requests.flips is not None
    assert found.requests.flips.newly_contacted + found.requests.flips.no_longer_contacted > 0
    of_a_feature = [s for s in found.requests.segments if s.feature == "gender"]
    assert sum(s.rows for s in of_a_feature) == 1_500
    assert sum(s.flips.newly_contacted for s in of_a_feature if s.flips) == found.requests.flips.newly_contacted


def test_a_worse_model_is_refused_and_its_evidence_kept(
    desk: Desk, mlflow: MemoryMlflow, credit_card: Contract
) -> None:
    put(desk, GOOD, credit_card)
    done = put(desk, WEAK, credit_card)

    assert (done.record.outcome, failed(done)) == ("refused", ["champion"])
    assert f"it is worse than {GOOD}" in done.record.failed[0].sentence
    assert mlflow.aliases == {CHAMPION: GOOD}
    assert "was never promoted" in mlflow.resolve(WEAK, "").approval_problem
    assert set(mlflow.logged[f"{WEAK}/{done.folder}"]) == {"evidence.json", "evidence.html"}


def test_force_promotes_what_failed_and_says_so(desk: Desk, mlflow: MemoryMlflow, credit_card: Contract) -> None:
    put(desk, GOOD, credit_card)
    done = put(desk, WEAK, credit_card, force=True)
    tags = mlflow.tags[WEAK]

    assert (done.record.outcome, done.record.forced) == ("promoted", True)
    assert mlflow.aliases == {CHAMPION: WEAK, PREVIOUS: GOOD}
    assert tags["churnwatch.promotion_forced"] == "true"
    assert tags["churnwatch.promotion_failed_gates"] == "champion"
    assert (tags["churnwatch.promoted_by"], tags["churnwatch.promotion_reason"]) == ("ann", "because")
    kept = mlflow.logged[f"{WEAK}/{done.folder}"]["evidence.json"]
    assert tags["churnwatch.promotion_evidence_sha256"] == hashlib.sha256(kept).hexdigest()
    assert json.loads(kept)["evidence"]["champion_run_id"] == GOOD


def test_evidence_alone_moves_nothing(desk: Desk, mlflow: MemoryMlflow, credit_card: Contract) -> None:
    done = put(desk, GOOD, credit_card, move=False)

    assert done.record.outcome == "fit"
    assert (mlflow.aliases, mlflow.tags[GOOD]) == ({}, {})


def test_a_retraining_deploys_only_where_it_may_and_never_what_fails_a_gate(
    desk: Desk, mlflow: MemoryMlflow, credit_card: Contract
) -> None:
    put(desk, WEAK, credit_card)

    def retrained(run_id: str, auto_promote: bool) -> tuple[str, str]:
        model, request = desk.registry.resolve(run_id, "credit_card"), judging(auto_promote, 1_000)
        return promote(model, credit_card, request, LIMITS, desk).record.outcome, mlflow.aliases[CHAMPION]

    assert retrained(GOOD, False) == ("fit", WEAK)
    assert retrained(GOOD, True) == ("promoted", GOOD)
    assert retrained(WEAK, True) == ("refused", GOOD)


def test_an_equal_model_passes(desk: Desk, mlflow: MemoryMlflow, credit_card: Contract) -> None:
    put(desk, GOOD, credit_card)
    done = put(desk, TWIN, credit_card)

    assert done.record.outcome == "promoted"
    assert done.record.evidence.requests.flips is not None
    assert done.record.evidence.requests.flips.share == 0


def test_a_champion_whose_bundle_has_gone_can_only_be_replaced_by_force(
    desk: Desk, mlflow: MemoryMlflow, credit_card: Contract, tmp_path: Path
) -> None:
    lost = make_bundle(tmp_path / "lost", run_id="4" * 32, rounds=1, rows=200)
    mlflow.bundles[lost.run_id], mlflow.tags[lost.run_id] = lost, {}
    mlflow.aliases[CHAMPION] = lost.run_id
    shutil.rmtree(lost.folder)
    done = put(desk, GOOD, credit_card)

    assert failed(done) == ["champion"]
    assert "cannot be compared with the champion: the bundle of run 4444" in done.record.failed[0].sentence
    assert put(desk, GOOD, credit_card, force=True).record.outcome == "promoted"


def test_a_model_of_another_contract_than_the_deployed_is_refused(
    desk: Desk, mlflow: MemoryMlflow, credit_card: Contract
) -> None:
    newer = parse_contract(credit_card.text.replace("retention_days = ", "retention_days = 1"))
    done = put(desk, GOOD, newer)

    assert failed(done) == ["contract"]
    assert done.record.failed[0].sentence.endswith("ingest and tune again with this contract")
    assert mlflow.aliases == {}


def test_a_candidate_whose_bundle_fails_its_checks_cannot_even_be_forced(
    desk: Desk, mlflow: MemoryMlflow, credit_card: Contract, tmp_path: Path
) -> None:
    broken = make_bundle(tmp_path / "broken", run_id="5" * 32, rounds=1, rows=200)
    mlflow.bundles[broken.run_id], mlflow.tags[broken.run_id] = broken, {}
    (broken.folder / "golden.json").write_text("[]")

    with pytest.raises(BundleRefused, match=r"golden.json has sha256"):
        put(desk, broken.run_id, credit_card, force=True)
    assert mlflow.aliases == {}


def test_without_labels_and_without_test_rows_quality_cannot_be_told(
    mlflow: MemoryMlflow, credit_card: Contract, tmp_path: Path
) -> None:
    done = put(desk_at(tmp_path, mlflow), GOOD, credit_card)

    assert set(failed(done)) == {"truth", "latency"}
    assert "the bundle of run 2222" in done.record.failed[0].sentence


def test_limits_are_kept(desk: Desk, credit_card: Contract) -> None:
    model = desk.registry.resolve(GOOD, "credit_card")
    done = promote(model, credit_card, Request("ann"), Limits(1e-9, 1e-9), desk)

    assert failed(done) == ["calibration", "latency"]


def test_of_two_promotions_at_once_one_waits(desk: Desk, mlflow: MemoryMlflow, credit_card: Contract) -> None:
    with turn(desk, "credit_card"), pytest.raises(PromotionUnderWay, match=r"under way; wait until \d\d:\d\d:\d\d UTC"):
        put(desk, GOOD, credit_card)
    assert mlflow.aliases == {}
    assert put(desk, GOOD, credit_card).record.outcome == "promoted"


def test_many_promotions_at_once_have_winners_one_after_the_other(
    desk: Desk, mlflow: MemoryMlflow, credit_card: Contract
) -> None:
    outcomes: list[str] = []

    def one(run_id: str) -> None:
        try:
            outcomes.append(put(desk, run_id, credit_card).record.outcome)
        except PromotionUnderWay:
            outcomes.append("turned away")

    threads = [threading.Thread(target=one, args=(run_id,)) for run_id in (GOOD, TWIN, GOOD, TWIN)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert outcomes.count("promoted") >= 1
    assert set(outcomes) <= {"promoted", "turned away"}
    assert len(outcomes) == 4


def test_who_was_paused_beyond_its_turn_changes_nothing(
    desk: Desk, mlflow: MemoryMlflow, credit_card: Contract
) -> None:
    """The first stops while it holds the turn; the turn expires; a second promotes; the first wakes."""
    clock = desk.now
    with turn(desk, "credit_card") as keep:
        clock.advance(121)  # type: ignore[attr-defined]  # the test's clock
        put(desk, TWIN, credit_card)

        with pytest.raises(PromotionUnderWay, match="took over; nothing was changed"):
            keep()
    assert mlflow.aliases == {CHAMPION: TWIN}


def test_a_champion_that_changed_by_other_hands_meanwhile_is_noticed(
    desk: Desk, mlflow: MemoryMlflow, credit_card: Contract
) -> None:
    """Someone moves the alias in MLflow's page while the evidence is made."""

    class Meddled(MemoryMlflow):
        asked = 0

        def resolve(self, run_or_alias: str, contract: str) -> RegisteredModel:
            if run_or_alias == CHAMPION:
                self.asked += 1
                self.aliases[CHAMPION] = WEAK if self.asked == 1 else TWIN
            return super().resolve(run_or_alias, contract)

    meddled = Meddled(mlflow.bundles)
    with pytest.raises(PromotionUnderWay, match="changed meanwhile; promote again to compare anew"):
        put(Desk(meddled, meddled, desk.store, desk.features, desk.cache, desk.now), GOOD, credit_card)
    assert meddled.logged == {}


def test_rollback_gives_the_previous_champion_its_place_back(
    desk: Desk, mlflow: MemoryMlflow, credit_card: Contract
) -> None:
    put(desk, WEAK, credit_card)
    put(desk, GOOD, credit_card)
    withdrawn, back = rollback("credit_card", "ben", "complaints", desk)

    assert (withdrawn.run_id, back.run_id) == (GOOD, WEAK)
    assert mlflow.aliases == {CHAMPION: WEAK}
    assert mlflow.resolve(WEAK, "").approval_problem == ""
    assert "was rolled back at 2026-01-31T12:00:00Z" in mlflow.resolve(GOOD, "").approval_problem
    with pytest.raises(PromotionRefused, match="has no previous champion"):
        rollback("credit_card", "ben", "", desk)


def test_a_run_that_was_rolled_back_can_be_promoted_again(
    desk: Desk, mlflow: MemoryMlflow, credit_card: Contract
) -> None:
    put(desk, WEAK, credit_card)
    put(desk, GOOD, credit_card)
    rollback("credit_card", "ben", "", desk)
    put(desk, GOOD, credit_card)

    assert mlflow.resolve(GOOD, "").approval_problem == ""
    assert mlflow.aliases == {CHAMPION: GOOD, PREVIOUS: WEAK}


def test_the_page_needs_nothing_from_elsewhere_and_tells_no_html(desk: Desk, credit_card: Contract) -> None:
    model = desk.registry.resolve(GOOD, "credit_card")
    request = Request("<b>ann</b>", "<script>alert(1)</script>")
    page = promote(model, credit_card, request, LIMITS, desk).page.decode()

    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "http" not in page
    assert len(page) < 300_000


def test_evidence_after_a_day_without_requests_still_finds_them(desk: Desk, credit_card: Contract) -> None:
    desk.now.advance(timedelta(days=5).total_seconds())  # type: ignore[attr-defined]  # the test's clock

    assert put(desk, GOOD, credit_card).record.evidence.requests.rows == 1_500
