"""Labels turn judged windows into figures, however late, odd or often they come."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from churn.contract import load_contract
from churn.errors import WatchError
from churn.prediction import Label, Prediction
from churn.pseudonym import pseudonyms
from monitoring.service import WatchService
from monitoring.truth import PERFORMANCE_KIND, Truth, read_labels
from monitoring.watch import Watch
from tests.fakes import pseudonym_key

RUN = "a" * 32


def label(scene: Any, predictions: list[Prediction], wrong: float = 0.0, seed: int = 0) -> Any:
    """Truth as the scores say, of which a share is turned round."""
    random = np.random.default_rng(seed)
    return scene.store.label(
        [
            Label(
                prediction_id=p.prediction_id,
                churned=(random.random() < p.churn_probability) != (random.random() < wrong),
                observed_at=scene.clock(),
            )
            for p in predictions
        ]
    )


def polled(scene: Any, watch: Watch) -> Truth:
    truth = Truth(scene.store, watch.decision)
    watch.poll()
    truth.look(watch.runs.values())
    return truth


def test_without_labels_there_is_an_estimate_and_no_realised_figure(scene: Any) -> None:
    scene.send(200)
    scene.clock.advance(10)
    watch = scene.watch()
    truth = polled(scene, watch)
    run = watch.runs["credit_card", RUN]

    assert truth.of(run) is None
    assert run.latest.estimated.figures["auc"].value > 0.7
    assert run.latest.estimated.kind == "estimated"


def test_realised_figures_come_with_the_labels_and_are_restated(scene: Any) -> None:
    sent = scene.send(200)
    scene.clock.advance(10)
    watch = scene.watch()
    truth = polled(scene, watch)
    label(scene, sent[:100])
    truth.look(watch.runs.values())
    half = truth.of(watch.runs["credit_card", RUN]).performance
    label(scene, sent[100:], seed=1)
    truth.look(watch.runs.values())
    whole = truth.of(watch.runs["credit_card", RUN]).performance

    assert (half.rows, half.coverage, half.mature) == (100, 0.5, False)
    assert (whole.rows, whole.coverage, whole.mature) == (200, 1.0, True)
    assert scene.store.documents(PERFORMANCE_KIND)[0]["rows"] == 200


def test_a_label_counts_in_the_window_of_its_prediction_alone(scene: Any) -> None:
    sent = scene.send(400, seconds_apart=0.0)
    scene.clock.advance(10)
    watch = scene.watch()
    truth = polled(scene, watch)
    label(scene, sent)
    truth.look(watch.runs.values())

    assert [d["rows"] for d in scene.store.documents(PERFORMANCE_KIND)] == [200, 200]


def test_labels_that_come_twice_or_for_nothing_change_no_figure(scene: Any) -> None:
    sent = scene.send(200)
    scene.clock.advance(10)
    watch = scene.watch()
    truth = polled(scene, watch)
    label(scene, sent)
    truth.look(watch.runs.values())
    before = scene.store.documents(PERFORMANCE_KIND)
    label(scene, sent)
    scene.store.label([Label(prediction_id="nobody", churned=True, observed_at=scene.clock())])
    truth.look(watch.runs.values())

    assert scene.store.documents(PERFORMANCE_KIND) == before


def test_labels_that_turn_out_otherwise_restate_the_figures(scene: Any) -> None:
    sent = scene.send(200)
    scene.clock.advance(10)
    watch = scene.watch()
    truth = polled(scene, watch)
    label(scene, sent)
    truth.look(watch.runs.values())
    before = truth.of(watch.runs["credit_card", RUN]).performance
    scene.clock.advance(10)
    scene.store.label([Label(prediction_id=p.prediction_id, churned=p.churn, observed_at=scene.clock()) for p in sent])
    truth.look(watch.runs.values())
    after = truth.of(watch.runs["credit_card", RUN]).performance

    assert before.figures["recall"].value < 1.0
    assert (after.rows, after.figures["recall"].value, after.figures["precision"].value) == (200, 1.0, 1.0)
    assert scene.store.documents(PERFORMANCE_KIND)[0]["figures"]["recall"]["value"] == 1.0


def test_rising_errors_are_concept_drift_which_no_estimate_sees(scene: Any) -> None:
    calm, wild = scene.send(1_000, seconds_apart=0.1), scene.send(1_000, seconds_apart=0.1)
    scene.clock.advance(10)
    service = WatchService(scene.watch(), registry := CollectorRegistry(), 1.0, scene.clock)
    label(scene, calm)
    label(scene, wild, wrong=0.4)
    service.poll()
    service.poll()
    labels = {"contract": "credit_card", "model_run_id": RUN}
    run = service.status()["runs"][0]

    assert registry.get_sample_value("churnwatch_concept_drift_alarm", labels) == 1
    assert run["performance"]["concept_drift"]["error_after"] > run["performance"]["concept_drift"]["error_before"]
    estimate = registry.get_sample_value("churnwatch_auc", {**labels, "kind": "estimated"})
    true = registry.get_sample_value("churnwatch_auc", {**labels, "kind": "realised"})
    assert estimate is not None
    assert true is not None
    assert estimate - true > 0.1
    assert registry.get_sample_value("churnwatch_estimate_error", {**labels, "metric": "auc"}) == estimate - true


def test_whoever_only_asks_learns_the_figures_and_the_change_from_the_store(scene: Any) -> None:
    calm, wild = scene.send(1_000, seconds_apart=0.1), scene.send(1_000, seconds_apart=0.1)
    scene.clock.advance(10)
    watch = scene.watch()
    label(scene, calm)
    label(scene, wild, wrong=0.4)
    looked = polled(scene, watch)
    looked.look(watch.runs.values())
    asker = scene.watch()
    asker.remember()
    remembered = Truth(scene.store, asker.decision)
    remembered.remember(asker.runs.values())
    run = watch.runs["credit_card", RUN]

    assert remembered.of(asker.runs["credit_card", RUN]) == looked.of(run)
    assert looked.of(run).concept.worse


def unasked(contract: str) -> Callable[[str], str]:
    raise AssertionError("labels by prediction id need no pseudonym")


def test_labels_by_customer_find_the_pseudonyms_of_the_log(scene: Any, tmp_path: Path) -> None:
    prediction = scene.send(1)[0]
    pseudonym = pseudonyms(scene.bundle.contract, pseudonym_key)
    named = {name: getattr(prediction, name) for name in prediction.__struct_fields__}
    scene.store.save([Prediction(**named | {"prediction_id": "p-1", "customer_id": pseudonym("c-1")})])
    file = tmp_path / "labels.csv"
    file.write_text("customer_id,contract,churned\nc-1,credit_card,true\nc-2,credit_card,false\n")
    watch = scene.watch()
    watch.remember()

    found = read_labels(file, scene.store, scene.clock(), lambda name: pseudonyms(watch.contract(name), pseudonym_key))

    assert (found.matched, found.changed, found.unknown) == (1, 0, 1)


def test_labels_of_a_contract_that_is_none_name_their_line(scene: Any, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("customer_id,contract,churned\nc-1,unheard_of,true\n")

    with pytest.raises(WatchError, match="line 2: unheard_of: no such contract"):
        read_labels(file, scene.store, scene.clock(), lambda name: pseudonyms(load_contract(name), pseudonym_key))


def test_labels_of_every_run_are_looked_for_in_turn(scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one poll may go through the rows of one window only, each run still gets its turn."""
    monkeypatch.setattr("monitoring.truth.ROWS_A_POLL", 150)
    sent = {run: scene.send(200, run=run) for run in (RUN, "b" * 32, "c" * 32)}
    scene.clock.advance(10)
    watch = scene.watch()
    watch.poll()
    truth = Truth(scene.store, watch.decision)
    for predictions in sent.values():
        label(scene, predictions)
    for _ in range(12):
        truth.look(watch.runs.values())

    assert [truth.of(run) is not None for run in watch.runs.values()] == [True] * 3


def test_a_csv_of_labels_comes_into_the_store(scene: Any, tmp_path: Path) -> None:
    sent = scene.send(3)
    file = tmp_path / "labels.csv"
    file.write_text(
        "prediction_id,churned,observed_at\n"
        f"{sent[0].prediction_id},true,2026-03-01T00:00:00Z\n"
        f"{sent[1].prediction_id},0,\n"
        "nobody,yes,2026-03-01\n"
    )
    found = read_labels(file, scene.store, scene.clock(), unasked)

    assert (found.matched, found.changed, found.unknown) == (2, 0, 1)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("id,churned\n1,true\n", "columns churned, id: expected churned, and prediction_id"),
        ("", "columns none: expected churned"),
        ("c" * 200_000, "cannot be read: field larger than field limit"),
        ("prediction_id,churned\n" + "p" * 200_000, "cannot be read: field larger than field limit"),
        ("prediction_id,churned\np,maybe\n", "line 2: churned='maybe': expected true or false"),
        ("prediction_id,churned,observed_at\np,1,soon\n", "line 2: Invalid isoformat string: 'soon'"),
        ("customer_id,contract,churned\n7,,1\n", "line 2: expected a prediction_id, or a customer_id and its contract"),
    ],
)
def test_a_wrong_file_of_labels_ends_with_a_sentence(scene: Any, tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "labels.csv"
    file.write_text(text)

    with pytest.raises(WatchError, match=r"labels\.csv") as raised:
        read_labels(file, scene.store, scene.clock(), unasked)
    assert sentence in str(raised.value)
