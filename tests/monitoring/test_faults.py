"""What may be in a log: each fault has its named state or alarm in the first window, and other runs go on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from monitoring.gauges import current_state
from monitoring.service import WatchService

RUN, OTHER = "a" * 32, "b" * 32
ROWS = 200
Change = Callable[[dict[str, Any]], dict[str, Any]]


def with_value(column: str, value: Any) -> Change:
    return lambda record: {**record, column: value}


def without(column: str) -> Change:
    return lambda record: {name: value for name, value in record.items() if name != column}


def altered(scene: Any, column: str, value: Any, rows: int = ROWS) -> None:
    """Log predictions whose features hold what no encoder would let through."""
    for prediction in scene.send(rows):
        fields = {name: getattr(prediction, name) for name in prediction.__struct_fields__}
        features = {**prediction.features, column: value}
        scene.store.save(
            [type(prediction)(**fields | {"prediction_id": f"x{prediction.prediction_id}", "features": features})]
        )


@pytest.fixture
def service(scene: Any) -> WatchService:
    return WatchService(scene.watch(), CollectorRegistry(), 1.0, scene.clock)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (with_value("total_trans_amt", None), ("total_trans_amt", "missing")),
        (without("total_trans_amt"), ("total_trans_amt", "missing")),
        (with_value("credit_limit", 300.0), ("credit_limit", "constant")),
        (with_value("education_level", "Kindergarten"), ("education_level", "unknown")),
        (with_value("education_level", None), ("education_level", "missing")),
    ],
    ids=["all null", "missing column", "constant", "unknown flood", "all-null category"],
)
def test_a_column_that_is_lost_is_told_by_its_check_and_another_run_goes_on(
    scene: Any, service: WatchService, change: Change, problem: tuple[str, str]
) -> None:
    scene.send(ROWS, change)
    scene.send(ROWS, run=OTHER)
    scene.clock.advance(10)
    judged = {window.window.model_run_id: window for window in service.poll()}

    assert [(p.column, p.check) for p in judged[RUN].quality] == [problem]
    assert (judged[RUN].verdict.state, judged[OTHER].verdict.state, judged[OTHER].quality) == ("ok", "ok", ())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), "a lot"])
def test_what_is_no_number_is_told_as_invalid_or_missing(scene: Any, service: WatchService, value: Any) -> None:
    altered(scene, "credit_limit", value, rows=ROWS // 2)
    scene.clock.advance(10)
    judged = service.poll()

    assert [j.verdict.state for j in judged] == ["ok"]
    assert {(p.column, p.check) for j in judged for p in j.quality} <= {
        ("credit_limit", "invalid"),
        ("credit_limit", "missing"),
    }
    assert any(j.quality for j in judged)


@pytest.mark.parametrize(("rows", "state"), [(0, "insufficient"), (1, "insufficient")])
def test_an_empty_store_and_a_single_row_are_states(scene: Any, service: WatchService, rows: int, state: str) -> None:
    scene.send(rows)
    scene.clock.advance(10)
    service.poll()
    runs = service.status()["runs"]

    assert [run["state"] for run in runs] == [state] * rows
    assert all(run["reason"] for run in runs)


def test_a_score_that_is_no_number_is_told_and_upsets_no_figure(scene: Any, service: WatchService) -> None:
    sent = scene.send(ROWS - 20)
    for prediction in sent[:20]:
        fields = {name: getattr(prediction, name) for name in prediction.__struct_fields__}
        own = {"prediction_id": f"x{prediction.prediction_id}", "churn_probability": float("nan")}
        scene.store.save([type(prediction)(**fields | own)])
    scene.clock.advance(10)
    judged = service.poll()[0]

    assert [(p.column, p.check in ("missing", "invalid")) for p in judged.quality] == [("churn_probability", True)]
    assert judged.estimated is not None
    assert current_state(next(iter(service._watch.runs.values()))) == "ok"
