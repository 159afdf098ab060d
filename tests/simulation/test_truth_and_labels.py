from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from churn.contract import Contract
from churn.errors import DataError
from simulation.__main__ import main
from simulation.customers import Customer
from simulation.labels import due, post_labels, write_labels
from simulation.senders import SendError
from simulation.shift_specs import parse_shift
from simulation.traffic import Receipt, make_events
from simulation.truth import Header, Truth, TruthFile, read_truth, shift_truths
from tests.fakes import Clock

START = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path, credit_card: Contract, simulated: pd.DataFrame, twenty: list[Customer]) -> Path:
    """20 events a second apart, the last without an answer; labels come 60 s later, from row 10 on 90 s later."""
    shifts = [parse_shift(spec, credit_card, simulated) for spec in ("null_burst@5-8", "label_delay:30@10")]
    path = tmp_path / "new" / "truth.jsonl"
    with TruthFile(path, label_delay_seconds=60) as truth:
        truth.begin(
            Header(
                contract="credit_card",
                started_at=START,
                seed=1,
                rate=1.0,
                rows=20,
                source="a test",
                shifts=shift_truths(shifts),
            )
        )
        for event in make_events(twenty, shifts, prefix="t"):
            prediction_id = None if event.index == 19 else f"p{event.index}"
            truth.take(Receipt(event, "http", START + timedelta(seconds=event.index), prediction_id))
    return path


@pytest.fixture
def truth(path: Path) -> Truth:
    return read_truth(path)


def test_the_header_says_which_shifts_were_on_where_and_when(truth: Truth) -> None:
    burst, delay = truth.headers[0].shifts

    assert (burst.kind, len(burst.columns), burst.start, burst.end, burst.unit) == ("null_burst", 1, 5.0, 8.0, "rows")
    assert (delay.kind, delay.columns, delay.start, delay.end) == ("label_delay", (), 10.0, None)


def test_each_event_stands_with_its_shifts_its_truth_and_when_that_is_known(
    truth: Truth, twenty: list[Customer]
) -> None:
    fifth, tenth = truth.events[5], truth.events[10]

    assert len(truth.events) == 20
    assert (fifth.event_id, fifth.customer_id, fifth.shifts) == (
        "t-0000005",
        twenty[5].customer_id,
        ("null_burst@5-8",),
    )
    assert (fifth.churned, fifth.prediction_id, fifth.route) == (twenty[5].churned, "p5", "http")
    assert fifth.label_due_at - fifth.sent_at == timedelta(seconds=60)
    assert tenth.label_due_at - tenth.sent_at == timedelta(seconds=90)
    assert truth.events[9].shifts == ()


def test_a_line_cut_short_by_a_crash_is_left_out(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])

    assert len(read_truth(path).events) == 19


def test_a_later_run_goes_on_after_a_line_that_was_cut_short(path: Path, truth: Truth) -> None:
    path.write_bytes(path.read_bytes()[:-10])

    with TruthFile(path) as again:
        again.begin(truth.headers[0])

    assert (len(read_truth(path).headers), len(read_truth(path).events)) == (2, 19)


def test_lines_are_in_the_file_at_once(tmp_path: Path, truth: Truth) -> None:
    with TruthFile(tmp_path / "x") as file:
        file.begin(truth.headers[0])

        assert read_truth(tmp_path / "x").headers == truth.headers[:1]


def test_a_full_disk_is_one_clear_sentence(truth: Truth) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")

    with TruthFile(Path("/dev/full")) as full, pytest.raises(DataError, match="cannot be written: No space left"):
        full.begin(truth.headers[0])


@pytest.mark.parametrize(("content", "said"), [(b"a,b\n", "line 1"), (b"", "holds no header")])
def test_a_file_that_is_no_truth_file_is_a_clear_error(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "x").write_bytes(content)

    with pytest.raises(DataError, match=said):
        read_truth(tmp_path / "x")


def test_a_missing_truth_file_is_one_clear_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["labels", "--truth", str(tmp_path / "none"), "--out", str(tmp_path / "l.csv")]) == 1
    assert "cannot be read: No such file" in capsys.readouterr().err


def test_labels_are_due_once_their_time_has_come_and_only_for_answered_events(truth: Truth) -> None:
    assert due(truth.events, START + timedelta(seconds=59)) == []
    assert [event.index for event in due(truth.events, START + timedelta(seconds=62))] == [0, 1, 2]
    assert [event.index for event in due(truth.events, START + timedelta(days=1))] == list(range(19))


def test_labels_that_are_due_are_posted_with_the_time_they_became_known(door, truth: Truth) -> None:
    door.plan = [(200, {"matched": 2, "changed": 0, "unknown": 1}, {})]

    delivered = post_labels(truth.events, door.url, api_key="k", now=lambda: START + timedelta(seconds=62))

    path, body, headers = door.requests[0]
    assert (delivered.posted, delivered.matched, delivered.unknown, delivered.later) == (3, 2, 1, 16)
    assert (path, headers["Authorization"]) == ("/feedback", "Bearer k")
    assert [entry["prediction_id"] for entry in body] == ["p0", "p1", "p2"]
    assert body[0]["observed_at"] == "2026-01-31T12:01:00Z"
    assert body[0]["churned"] is truth.events[0].churned


def test_waiting_delivers_all_labels_as_they_become_known(door, truth: Truth) -> None:
    clock = Clock(START)

    delivered = post_labels(truth.events, door.url, wait=True, now=clock, sleep=clock.advance)

    posted = [entry["prediction_id"] for _, body, _ in door.requests for entry in body]
    assert (delivered.posted, delivered.later) == (19, 0)
    assert posted == [f"p{index}" for index in range(19)]
    assert len(door.requests) > 10


def test_labels_survive_an_outage_and_a_refusal_is_said(door, truth: Truth) -> None:
    late = START + timedelta(days=1)
    door.plan = [(503, {"detail": "soon"}, {}), None]
    assert post_labels(truth.events, door.url, now=lambda: late, sleep=lambda seconds: None).posted == 19

    door.plan = [(422, {"detail": "item 0: churned: expected true or false"}, {})]
    with pytest.raises(SendError, match="/feedback answered 422: item 0: churned"):
        post_labels(truth.events, door.url, now=lambda: late)


def test_labels_are_written_as_csv(truth: Truth, tmp_path: Path) -> None:
    assert write_labels(truth.events, tmp_path / "labels.csv") == 19

    with (tmp_path / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["prediction_id"] for row in rows] == [f"p{index}" for index in range(19)]
    assert {row["churned"] for row in rows} <= {"true", "false"}
    assert rows[0]["observed_at"] == "2026-01-31T12:01:00Z"


def test_the_labels_command_writes_those_known_by_now(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["labels", "--truth", str(path), "--out", str(tmp_path / "l.csv")]) == 0
    assert "19 labels" in capsys.readouterr().out
