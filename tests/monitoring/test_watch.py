"""Each closed window is judged once, whatever happens; what cannot be judged has a state that says why."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from churn.errors import BundleRefused, RegistryUnavailable, RunNotFound
from monitoring.gauges import current_reason, current_state
from monitoring.judged import Judged
from monitoring.watch import WatchRules
from monitoring.windows import CountWindows, TimeWindows

RUN = "a" * 32


def test_quiet_windows_drift_nowhere_and_ring_nothing(scene: Any) -> None:
    scene.send(1_000)
    scene.clock.advance(10)
    watch = scene.watch()
    judged = watch.poll()

    assert [(j.window.number, j.verdict.state, j.verdict.rows) for j in judged] == [(n, "ok", 200) for n in range(5)]
    assert [j.verdict.drifted for j in judged] == [()] * 5
    assert scene.store.documents("alarm") == []


def test_a_shift_drifts_in_its_column_and_rings_once_for_two_windows_in_a_row(scene: Any, changes: Any) -> None:
    scene.send(400)
    scene.send(600, changes["shift"])
    scene.clock.advance(10)
    watch = scene.watch()
    features = [
        [column for column in judged.verdict.drifted if column not in ("churn_probability", "churn")]
        for judged in watch.poll()
    ]
    alarms = scene.store.documents("alarm")

    assert features == [[], [], ["credit_limit"], ["credit_limit"], ["credit_limit"]]
    assert [(a["cause"], a["column"], a["windows"], a["closed_at"]) for a in alarms] == [
        ("drift:credit_limit", "credit_limit", 3, None)
    ]
    assert alarms[0]["opened_by"].endswith("/rows-200/000000000003")


def test_an_alarm_closes_after_two_quiet_windows_and_keeps_its_document(scene: Any, changes: Any) -> None:
    scene.send(400, changes["shift"])
    scene.send(200)
    scene.clock.advance(10)
    watch = scene.watch()
    watch.poll()
    still = [alarm.cause.name for alarm in watch.runs["credit_card", RUN].book.ringing]
    scene.send(200)
    scene.clock.advance(10)
    watch.poll()

    assert still == ["drift:credit_limit"]
    assert watch.runs["credit_card", RUN].book.ringing == []
    assert [a["closed_at"] is not None for a in scene.store.documents("alarm")] == [True]


def test_nulls_are_one_alarm_of_quality_not_a_second_one_of_drift(scene: Any, changes: Any) -> None:
    scene.send(400, changes["nulls"])
    scene.clock.advance(10)
    scene.watch().poll()

    assert [alarm["cause"] for alarm in scene.store.documents("alarm")] == ["missing:total_trans_amt"]


def test_both_routes_fill_one_window(scene: Any) -> None:
    scene.send(120, route="http")
    scene.send(80, route="stream")
    scene.clock.advance(10)

    assert scene.watch().poll()[0].routes == {"http": 120, "stream": 80}


def test_a_restart_goes_on_after_the_last_judged_window(scene: Any, changes: Any) -> None:
    scene.send(500, changes["shift"])
    scene.clock.advance(10)
    first = scene.watch().poll()
    scene.send(100, changes["shift"])
    scene.clock.advance(10)
    restarted = scene.watch()
    second = restarted.poll()

    assert [j.window.number for j in first + second] == [0, 1, 2]
    assert second[0].window.start > first[1].window.end - timedelta(seconds=1)
    assert [alarm.windows for alarm in restarted.runs["credit_card", RUN].book.ringing] == [3]
    assert restarted.poll() == []


def test_a_second_watch_takes_the_verdict_that_was_first(scene: Any) -> None:
    scene.send(200)
    scene.clock.advance(10)
    late = scene.watch()
    late.remember()
    scene.watch().poll()
    document = scene.store.documents("verdict")[0]
    scene.clock.advance(60)

    assert late.poll()[0].to_document() == document
    assert len(scene.store.documents("verdict")) == 1


def test_every_row_lies_in_exactly_one_window_by_count_though_many_share_a_time(scene: Any) -> None:
    scene.send(700, seconds_apart=0.0)
    scene.clock.advance(10)
    watch = scene.watch()
    judged = watch.poll()
    ids = [p.prediction_id for j in judged for p in j.window.read(scene.store)]

    assert [j.verdict.rows for j in judged] == [200, 200, 200]
    assert ids == sorted(set(ids))


def test_windows_by_time_skip_silence_and_wait_for_late_records(scene: Any) -> None:
    scene.rule, scene.rules = TimeWindows(300.0, 30.0), WatchRules(stale_seconds=1e9)
    scene.send(250)
    scene.clock.time = datetime(2026, 1, 31, 14, 0, tzinfo=UTC)
    scene.send(150)
    watch = scene.watch()
    first = watch.poll()
    scene.clock.time = datetime(2026, 1, 31, 14, 5, 29, tzinfo=UTC)
    early = watch.poll()
    scene.clock.advance(1)
    second = watch.poll()

    assert [(j.window.start.isoformat(), j.verdict.rows) for j in [*first, *early, *second]] == [
        ("2026-01-31T12:00:00+00:00", 250),
        ("2026-01-31T14:00:00+00:00", 150),
    ]


def test_too_few_rows_are_insufficient_and_say_how_many_are_needed(scene: Any) -> None:
    scene.rule = TimeWindows(60.0, 0.0)
    scene.send(59)
    scene.clock.advance(60)
    verdict = scene.watch().poll()[0].verdict

    assert (verdict.state, verdict.reason) == ("insufficient", "59 rows, at least 100 are needed")


@pytest.mark.parametrize("error", [RunNotFound(RUN, "MLflow"), BundleRefused(RUN, "model.ubj was altered")])
def test_a_run_whose_bundle_is_gone_is_broken_rings_at_once_and_the_rest_goes_on(scene: Any, error: Exception) -> None:
    scene.failure = error
    scene.send(200)
    scene.clock.advance(10)
    watch = scene.watch()
    verdict = watch.poll()[0].verdict

    assert (verdict.state, verdict.rows, verdict.reason) == ("broken", 200, str(error))
    assert [alarm["cause"] for alarm in scene.store.documents("alarm")] == ["broken"]


def test_a_registry_that_is_down_is_waited_for_and_no_window_is_lost(scene: Any) -> None:
    scene.failure = RegistryUnavailable("MLflow does not answer")
    scene.send(200)
    scene.clock.advance(10)
    watch = scene.watch()
    before = watch.poll()
    run = watch.runs["credit_card", RUN]
    waiting = current_state(run), current_reason(run)
    scene.failure = None

    assert (before, waiting) == ([], ("broken", "MLflow does not answer"))
    assert [j.verdict.state for j in watch.poll()] == ["ok"]
    assert current_state(run) == "ok"


def test_two_runs_at_once_have_windows_of_their_own(scene: Any, changes: Any) -> None:
    scene.send(200)
    scene.send(200, changes["shift"], run="b" * 32)
    scene.clock.advance(10)
    judged = {j.window.model_run_id: "credit_limit" in j.verdict.drifted for j in scene.watch().poll()}

    assert judged == {RUN: False, "b" * 32: True}


def test_silence_makes_the_newest_run_stale_and_leaves_a_retired_one_alone(scene: Any) -> None:
    scene.send(200)
    scene.send(200, run="b" * 32)
    scene.clock.advance(3_599)
    watch = scene.watch()
    watch.poll()
    before = {run.model_run_id: current_state(run) for run in watch.runs.values()}
    scene.clock.advance(2)
    watch.poll()
    after = {run.model_run_id: current_state(run) for run in watch.runs.values()}

    assert before == {RUN: "ok", "b" * 32: "ok"}
    assert after == {RUN: "ok", "b" * 32: "stale"}
    assert current_reason(watch.runs["credit_card", "b" * 32]) == "no predictions for 60 minutes"


def test_a_run_that_serves_no_more_is_retired_and_its_alarms_end(scene: Any, changes: Any) -> None:
    """Another run answers, and this one has been silent for an hour. So it is after a restart, too."""
    scene.send(400, changes["shift"])
    scene.clock.advance(10)
    watch = scene.watch()
    watch.poll()
    rang = [alarm.cause.name for alarm in watch.runs["credit_card", RUN].book.ringing]
    scene.clock.advance(3_600)
    scene.send(200, run="b" * 32)
    scene.clock.advance(10)
    watch.poll()
    old = watch.runs["credit_card", RUN]
    documents = scene.store.documents("alarm")
    restarted = scene.watch()
    restarted.poll()

    assert rang == ["drift:credit_limit"]
    assert old.retired == "serves no more: no predictions for 60 minutes, another run answers"
    assert (old.book.ringing, watch.runs["credit_card", "b" * 32].retired) == ([], "")
    assert [(a["cause"], a["closed_at"] is not None) for a in documents] == [("drift:credit_limit", True)]
    assert restarted.runs["credit_card", RUN].book.ringing == []
    assert scene.store.documents("alarm") == documents


def test_an_alarm_goes_on_while_the_only_run_is_silent(scene: Any, changes: Any) -> None:
    """Nobody answers in its place: the silence is an alarm of its own, and mends nothing."""
    scene.send(400, changes["shift"])
    scene.clock.advance(7_200)
    watch = scene.watch()
    watch.poll()
    run = watch.runs["credit_card", RUN]

    assert (current_state(run), run.retired) == ("stale", "")
    assert [alarm.cause.name for alarm in run.book.ringing] == ["drift:credit_limit"]


def test_a_retired_run_that_comes_back_rings_anew(scene: Any, changes: Any) -> None:
    scene.send(400, changes["shift"])
    scene.clock.advance(3_600)
    scene.send(200, run="b" * 32)
    scene.clock.advance(10)
    watch = scene.watch()
    watch.poll()
    retired = bool(watch.runs["credit_card", RUN].retired)
    heard = []
    for _ in range(2):
        scene.send(200, changes["shift"])
        scene.clock.advance(10)
        watch.poll()
        heard.append([alarm.cause.name for alarm in watch.runs["credit_card", RUN].book.ringing])

    assert retired
    assert not watch.runs["credit_card", RUN].retired
    assert heard == [[], ["drift:credit_limit"]]


def test_what_no_encoder_would_log_is_told_as_a_problem_of_quality(scene: Any) -> None:
    saved = scene.send(199)
    odd = replace_fields(saved[0], prediction_id="odd", features={**saved[0].features, "credit_limit": "a lot"})
    scene.store.save([odd])
    scene.clock.advance(10)
    judged = scene.watch().poll()[0]

    assert [(p.column, p.check, p.reason) for p in judged.quality] == [
        ("credit_limit", "invalid", "0.5% invalid, in the reference 0.0%")
    ]


def test_a_judged_window_survives_its_document(scene: Any, changes: Any) -> None:
    scene.send(200, changes["nulls"])
    scene.clock.advance(10)
    judged = scene.watch().poll()[0]

    assert Judged.from_document(scene.store.documents("verdict")[0]) == replace(
        judged, routes={"http": 200}, histograms=judged.histograms
    )
    assert sum(judged.importance.values()) == pytest.approx(1.0, abs=0.01)


def replace_fields(prediction: Any, **fields: Any) -> Any:
    return type(prediction)(**{name: getattr(prediction, name) for name in prediction.__struct_fields__} | fields)


def test_columns_swapped_between_customers_ring_though_no_column_shows_it(scene: Any) -> None:
    """The window holds the reference's own values, one column moved by one customer, so that it fits no other."""
    rows = scene.bundle.reference().head(1_000)
    scene.reference = replace(scene.reference, matrix=linked(scene.reference.matrix))
    scene.rule = CountWindows(500, 5.0)
    scene.send_frame(rows)
    scene.clock.advance(10)
    judged = scene.watch().poll()

    assert [j.verdict.drifted for j in judged] == [(), ()]
    assert judged[0].joint.drifted
    assert judged[1].joint_at == judged[0].joint_at
    assert [alarm["cause"] for alarm in scene.store.documents("alarm")] == ["joint"]


def test_the_hours_look_takes_all_rows_since_the_last_one_of_windows_in_which_no_column_moved(
    scene: Any, changes: Any
) -> None:
    scene.rules = WatchRules(joint_seconds=900.0)
    watch = scene.watch()
    asked = []
    for change in (dict, dict, changes["shift"], dict, dict, dict, dict, dict, dict):
        scene.send(200, change)
        scene.clock.advance(10)
        judged = watch.poll()[0]
        if judged.joint_at == judged.judged_at:
            asked.append((judged.window.number, judged.joint.rows))

    assert asked == [(0, 200), (4, 400), (8, 800)]


def test_windows_of_an_hour_are_looked_at_each_though_polls_come_a_little_early_or_late(scene: Any) -> None:
    scene.rules = WatchRules(joint_seconds=210.0)
    watch = scene.watch()
    asked = []
    for late in (20, 6, 20):
        scene.send(200)
        scene.clock.advance(late)
        judged = watch.poll()[0]
        asked.append(judged.joint_at == judged.judged_at)
        scene.clock.advance(10 - late)

    assert asked == [True, True, True]


def test_records_that_come_late_are_counted_into_the_window_they_belong_to(scene: Any) -> None:
    scene.rule = TimeWindows(300.0, 5.0)
    sent = scene.send(150)
    scene.clock.time = datetime(2026, 1, 31, 12, 5, 5, tzinfo=UTC)
    watch = scene.watch()
    first = watch.poll()[0]
    late = [replace_fields(p, prediction_id=f"late-{p.prediction_id}") for p in sent[:30]]
    scene.store.save(late)
    again = watch.poll()
    document = scene.store.documents("verdict")[0]

    assert (first.verdict.rows, again, document["rows"]) == (150, [], 180)
    assert len(scene.store.documents("verdict")) == 1
    assert watch.runs["credit_card", RUN].latest.verdict.rows == 180


def test_a_clock_that_jumps_back_judges_nothing_twice_and_goes_on(scene: Any) -> None:
    scene.rule = TimeWindows(100.0, 0.0)
    scene.send(200)
    scene.clock.advance(100)
    watch = scene.watch()
    before = [j.window.number for j in watch.poll()]
    scene.clock.advance(-3_600)
    during = watch.poll()
    told = current_state(watch.runs["credit_card", RUN]), current_reason(watch.runs["credit_card", RUN])
    scene.clock.advance(3_600)
    scene.send(100)
    scene.clock.advance(100)
    after = [j.window.number for j in watch.poll()]

    assert during == []
    assert told == ("broken", "the newest window ends at 12:05:00 UTC, after now, 11:05:00: a clock has jumped")
    assert current_state(watch.runs["credit_card", RUN]) != "broken"
    assert len({*before, *after}) == len(before) + len(after)
    assert min(after) > max(before)


def test_a_clock_that_jumps_ahead_is_told_as_silence_and_what_comes_after_is_judged(scene: Any) -> None:
    scene.rule = TimeWindows(100.0, 0.0)
    scene.send(150)
    watch = scene.watch()
    first = watch.poll()
    scene.clock.advance(7_200)
    ahead = watch.poll()
    told = current_reason(watch.runs["credit_card", RUN])
    scene.clock.advance(-7_200)
    scene.send(150)
    late = [judged for _ in range(4) for judged in watch.poll()]
    rows = [document["rows"] for document in scene.store.documents("verdict", newest_first=False)]

    assert [j.verdict.rows for j in first + ahead + late] == [99, 51, 100]
    assert told == "no predictions for 60 minutes"
    assert rows == [99, 100, 100]
    assert current_state(watch.runs["credit_card", RUN]) == "ok"


def test_the_open_window_says_how_far_it_is(scene: Any) -> None:
    scene.send(130)
    scene.clock.advance(10)
    by_count = scene.watch()
    by_count.poll()
    scene.rule = TimeWindows(3_600.0, 5.0)
    by_time = scene.watch()
    by_time.poll()

    assert by_count.runs["credit_card", RUN].still_open == "130 of 200 predictions in the open window"
    assert (
        by_time.runs["credit_card", RUN].still_open
        == "130 predictions in the open window, which closes at 13:00:00 UTC"
    )


def linked(matrix: Any) -> Any:
    """Reference rows in which the first two numbers go together, each with the values it has."""
    together = matrix.copy()
    together[:, 0] = np.sort(matrix[:, 0])
    place = int(np.argmax([len(np.unique(column)) for column in matrix.T]))
    together[:, place] = np.sort(matrix[:, place])
    return together
