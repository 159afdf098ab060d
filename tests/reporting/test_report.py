"""What a report says of a window: exactly the shifted columns, and a named state for whatever cannot be judged."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from churn.bundle import Bundle
from churn.errors import BundleRefused, EvidentlyFailed
from churn.prediction import Label
from churn.store.interface import PredictionStore
from reporting.document import NO_RUN, ColumnReport, Report, from_json, to_json
from reporting.maker import Maker
from reporting.report import build_report
from reporting.window import DAY, Window
from tests.fake_evidently import FakeEvidently, Send

RUN = "a" * 32


def report_on(maker: Maker, window: Window, folder: Path, run: str = RUN, contract: str = "credit_card") -> Report:
    assert maker.second_opinion is not None
    return build_report(
        contract,
        run,
        window,
        folder,
        store=maker.store,
        load_bundle=maker.load_bundle,
        second_opinion=maker.second_opinion,
        now=maker.now(),
        rules=maker.rules,
    )


def column(report: Report, name: str) -> ColumnReport:
    return next(column for column in report.columns if column.name == name)


def test_a_shifted_window_names_exactly_the_shifted_columns(
    maker: Maker, send: Send, day: Window, tmp_path: Path
) -> None:
    def shift(customers: list[dict[str, Any]]) -> None:
        for customer in customers:
            customer["credit_limit"] += 150.0
        for customer in customers[::5]:
            customer["marital_status"] = None
        for customer in customers[::20]:
            customer["education_level"] = "Self-taught"

    send(1_000, change=shift)
    report = report_on(maker, day, tmp_path)

    assert report.state == "ok"
    assert report.drifted == ["education_level", "marital_status", "credit_limit"]
    assert column(report, "education_level").unknown_window == 0.05
    assert column(report, "marital_status").missing_window == pytest.approx(0.24, abs=0.02)


def test_a_quiet_window_is_quiet(maker: Maker, send: Send, day: Window, tmp_path: Path) -> None:
    send(1_000)
    report = report_on(maker, day, tmp_path)

    assert (report.state, report.drifted, report.figures.rows) == ("ok", [], 1_000)
    assert report.figures.routes == {"http": 750, "stream": 250}
    assert [column.name for column in report.columns][-2:] == ["churn_probability", "churn"]
    assert sum(slot.rows for slot in report.timeline) == 1_000


def test_the_expected_profit_is_the_estimated_one(maker: Maker, send: Send, day: Window, tmp_path: Path) -> None:
    flagged = [prediction for prediction in send(400) if prediction.churn]
    report = report_on(maker, day, tmp_path)

    assert report.money is not None
    assert report.estimated is not None
    profit = report.estimated.figures["profit"]
    assert report.money.contacted == len(flagged)
    assert (report.money.low, report.money.expected_profit, report.money.high) == (
        profit.low,
        profit.value,
        profit.high,
    )


def test_without_a_bundle_the_profit_follows_from_the_probabilities(
    maker: Maker, send: Send, day: Window, tmp_path: Path
) -> None:
    def gone(run: str, contract: str) -> Bundle:
        raise BundleRefused(run, "gone")

    flagged = [prediction for prediction in send(400) if prediction.churn]
    report = report_on(replace(maker, load_bundle=gone), day, tmp_path)

    leavers = sum(prediction.churn_probability for prediction in flagged)
    assert report.estimated is None
    assert report.money is not None
    assert report.money.expected_profit == pytest.approx(0.3 * 300 * leavers - 25 * len(flagged))


def test_ground_truth_gives_the_realised_figures(
    maker: Maker, store: PredictionStore, send: Send, day: Window, tmp_path: Path
) -> None:
    predictions = send(200)
    labels = [Label(prediction_id=p.prediction_id, churned=p.churn, observed_at=day.end) for p in predictions[:150]]
    store.label(labels)
    found = report_on(maker, day, tmp_path).realised

    assert found is not None
    assert (found.rows, found.coverage, found.mature) == (150, 0.75, False)
    assert [found.figures[name].value for name in ("auc", "precision", "recall")] == [1.0, 1.0, 1.0]
    assert found.figures["profit"].value == pytest.approx((0.3 * 300 - 25) * sum(label.churned for label in labels))


def test_few_labels_are_counted_but_not_made_into_figures(
    maker: Maker, store: PredictionStore, send: Send, day: Window, tmp_path: Path
) -> None:
    predictions = send(200)
    store.label([Label(prediction_id=predictions[0].prediction_id, churned=True, observed_at=day.end)])
    found = report_on(maker, day, tmp_path).realised

    assert found is not None
    assert found.figures == {}
    assert found.reason == "1 labels, 1 of them left: at least 10 of each kind are needed"


def test_quality_problems_and_the_watchs_alarms_are_told(
    maker: Maker, store: PredictionStore, send: Send, day: Window, tmp_path: Path
) -> None:
    def lose(customers: list[dict[str, Any]]) -> None:
        for customer in customers[::2]:
            customer["marital_status"] = None

    send(400, change=lose)
    for name, opened, closed in (
        ("before", day.start - 2 * DAY, day.start),
        ("inside", day.start + DAY / 2, None),
        ("after", day.end + DAY, None),
    ):
        alarm = {"cause": name, "severity": "page", "summary": name, "opened_at": opened, "closed_at": closed}
        times = {key: value.isoformat() if isinstance(value, datetime) else value for key, value in alarm.items()}
        store.put_document("alarm", f"credit_card/{RUN}/{opened.isoformat()}/{name}", times)
    store.put_document("alarm", f"credit_card/{RUN}/of-another-shape", {"text": "?"})
    report = report_on(maker, day, tmp_path)

    assert [(problem.column, problem.check) for problem in report.quality] == [("marital_status", "missing")]
    assert [alarm.cause for alarm in report.alarms] == ["inside"]
    assert from_json(to_json(report)) == report


def test_few_rows_are_a_state_and_their_quality_is_still_told(
    maker: Maker, send: Send, day: Window, tmp_path: Path
) -> None:
    def lose(customers: list[dict[str, Any]]) -> None:
        for customer in customers:
            customer["marital_status"] = None

    send(20, change=lose)
    report = report_on(maker, day, tmp_path)

    assert report.state == "insufficient"
    assert report.reason == "20 rows, at least 100 are needed"
    assert column(report, "marital_status").missing_window == 1.0
    assert {column.verdict for column in report.columns} == {"not judged"}


def test_an_empty_window_says_so(maker: Maker, day: Window, tmp_path: Path, evidently: FakeEvidently) -> None:
    report = report_on(maker, day, tmp_path, NO_RUN)

    assert (report.state, report.reason) == ("empty", "no predictions in this window")
    assert evidently.asked == []


def test_a_bundle_that_is_gone_leaves_the_counts_and_the_quality(
    maker: Maker, send: Send, day: Window, tmp_path: Path
) -> None:
    def gone(run: str, contract: str) -> Bundle:
        raise BundleRefused(run, "model.ubj is missing")

    send(200)
    report = report_on(replace(maker, load_bundle=gone), day, tmp_path)

    assert report.state == "broken"
    assert report.reason == f"nothing to compare with: the bundle of run {RUN} was refused: model.ubj is missing"
    assert report.figures.rows == 200
    assert column(report, "marital_status").missing_window > 0


def test_a_run_of_another_contract_is_not_compared(maker: Maker, send: Send, day: Window, tmp_path: Path) -> None:
    send(200, contract="other")
    report = report_on(maker, day, tmp_path, contract="other")

    assert report.state == "broken"
    assert "belongs to the contract credit_card" in report.reason
    assert report.title == "other"


def test_evidently_failing_takes_nothing_away(maker: Maker, send: Send, day: Window, tmp_path: Path) -> None:
    def fail(*_: object) -> Any:
        raise EvidentlyFailed("not done within 120 s; lower EVIDENTLY_ROWS")

    send(200)
    report = report_on(replace(maker, second_opinion=fail), day, tmp_path)

    assert report.state == "ok"
    assert report.evidently is not None
    assert report.evidently.problem == ("Evidently gave no second opinion: not done within 120 s; lower EVIDENTLY_ROWS")


def test_a_score_that_is_not_a_number_does_not_spoil_the_rest(
    maker: Maker, store: PredictionStore, send: Send, day: Window, tmp_path: Path
) -> None:
    bad = msgspec.structs.replace(send(200)[0], prediction_id="bad", churn_probability=float("nan"))
    store.save([bad])
    report = report_on(maker, day, tmp_path)

    assert report.figures.mean_probability is not None
    assert 0 < report.figures.mean_probability < 1
    assert from_json(to_json(report)).figures.rows == report.figures.rows


def test_the_twin_is_the_report(maker: Maker, send: Send, day: Window, tmp_path: Path) -> None:
    send(300)
    report = report_on(maker, day, tmp_path)

    assert from_json(to_json(report)) == report
