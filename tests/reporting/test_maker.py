"""Each window once, missed ones caught up, the index after every one."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from churn.errors import ReportError, StoreUnavailable
from churn.store import open_store
from reporting.__main__ import main
from reporting.document import from_json
from reporting.maker import KIND, Maker
from reporting.shelf import Shelf
from reporting.window import DAY, Window
from tests.fake_evidently import FakeEvidently, Send
from tests.fakes import Clock

RUN = "a" * 32


def test_a_report_is_a_page_a_twin_and_a_line_in_the_index(maker: Maker, send: Send, day: Window) -> None:
    send(300)
    made = maker.make(day)

    assert [(each.path, each.written, each.rows) for each in made] == [
        (f"credit_card/20260129T000000Z--20260130T000000Z/{RUN}", True, 300)
    ]
    folder = maker.shelf.folder / made[0].path
    assert sorted(file.name for file in folder.iterdir()) == ["evidently.html", "index.html", "summary.json"]
    assert made[0].path in (maker.shelf.folder / "index.html").read_text()
    listed = json.loads((maker.shelf.folder / "index.json").read_bytes())["reports"]
    assert [(line["path"], line["rows"]) for line in listed] == [(made[0].path, 300)]


def test_a_window_is_reported_once(maker: Maker, send: Send, day: Window, evidently: FakeEvidently) -> None:
    send(300)
    first, second = maker.make(day), maker.make(day)

    assert (first[0].written, second[0].written) == (True, False)
    assert len(evidently.asked) == 1


def test_again_reports_what_came_late(maker: Maker, send: Send, day: Window) -> None:
    send(300)
    maker.make(day)
    send(100, seed=2)

    assert maker.make(day, again=True)[0].rows == 400


def test_a_report_whose_files_were_lost_is_made_again(maker: Maker, send: Send, day: Window) -> None:
    send(300)
    made = maker.make(day)
    shutil.rmtree(maker.shelf.folder)

    assert maker.make(day)[0].written
    assert maker.shelf.holds(made[0].path)


def test_files_without_a_record_are_of_a_crash_and_made_again(
    maker: Maker, send: Send, day: Window, tmp_path: Path
) -> None:
    send(300)
    with replace(maker, store=open_store(f"sqlite:///{tmp_path / 'other.db'}")).shelf.workplace() as folder:
        (folder / "index.html").write_text("of a crashed process")
        maker.shelf.publish(folder, maker.shelf.path("credit_card", day, RUN))

    assert maker.make(day)[0].written


def test_each_run_has_its_report_and_names_select(maker: Maker, send: Send, day: Window) -> None:
    send(200)
    send(150, seed=2, model_run_id="b" * 32)

    assert [(each.model_run_id[0], each.rows) for each in maker.make(day)] == [("a", 200), ("b", 150)]
    assert [each.model_run_id[0] for each in maker.make(day, run="b" * 32)] == ["b"]


def test_a_contract_asked_for_by_name_gets_a_page_that_says_there_was_nothing(maker: Maker, day: Window) -> None:
    made = maker.make(day, "credit_card")

    assert [(each.state, each.rows, each.written) for each in made] == [("empty", 0, True)]
    assert "no predictions in this window" in (maker.shelf.folder / made[0].path / "index.html").read_text()
    assert maker.make(day) == []


def test_missed_days_are_caught_up_with_the_silent_one_between(
    maker: Maker, send: Send, day: Window, clock: Clock
) -> None:
    clock.advance(2 * 86_400)
    send(300, start=day.start)
    send(300, seed=2, start=day.start + 2 * DAY)

    made = maker.catch_up()
    assert [(each.start.day, each.state) for each in made] == [(29, "ok"), (30, "empty"), (31, "ok"), (1, "empty")]
    assert not any(each.written for each in maker.catch_up())

    clock.advance(86_400)
    assert [each.start.day for each in maker.catch_up() if each.written] == [2]


def test_catching_up_looks_no_further_back_than_told(maker: Maker, send: Send, day: Window) -> None:
    send(300, start=day.start - 10 * DAY)
    send(300, seed=2)

    assert [each.start.day for each in maker.catch_up(most_days=3)] == [29, 30]


def test_a_report_tells_what_changed_since_the_one_before(maker: Maker, send: Send, day: Window) -> None:
    def shift(customers: list[dict[str, Any]]) -> None:
        for customer in customers:
            customer["credit_limit"] += 200.0

    send(500)
    send(500, seed=2, start=day.start + DAY, change=shift)
    before = maker.make(day)[0]
    made = maker.make(Window(day.start + DAY, day.end + DAY))[0]

    report = from_json((maker.shelf.folder / made.path / "summary.json").read_bytes())
    assert report.changes == ["Newly drifted: credit_limit."]
    assert report.previous == before.path
    assert (maker.shelf.folder / made.path / "../../../" / before.path / "index.html").is_file()


def test_the_first_report_of_a_new_run_names_the_old(maker: Maker, send: Send, day: Window) -> None:
    send(300)
    send(300, seed=2, start=day.start + DAY, model_run_id="b" * 32)
    made = maker.catch_up()[-1]

    report = from_json((maker.shelf.folder / made.path / "summary.json").read_bytes())
    assert report.changes[0].startswith("The model changed: before, run aaaaaaaaaaaa answered.")


def test_the_record_in_the_store_says_where_and_what(maker: Maker, send: Send, day: Window) -> None:
    send(300)
    path = maker.make(day)[0].path
    record = maker.store.document(KIND, path)

    assert record is not None
    assert (record["path"], record["state"], record["rows"], record["drifted"]) == (path, "ok", 300, [])


def test_a_store_that_is_down_ends_the_report_and_leaves_no_half(
    maker: Maker, send: Send, day: Window, tmp_path: Path
) -> None:
    class Down:
        def __getattr__(self, name: str) -> Any:
            if name == "runs":
                return lambda start, end: [("credit_card", RUN)]
            raise StoreUnavailable("the store is down")

    with pytest.raises(StoreUnavailable):
        replace(maker, store=Down()).make(day)  # type: ignore[arg-type]
    assert not (tmp_path / "reports").exists() or list((tmp_path / "reports").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_one_sentence(maker: Maker, send: Send, day: Window, tmp_path: Path) -> None:
    send(200)
    (tmp_path / "file").write_text("")

    with pytest.raises(ReportError, match="cannot be written"):
        replace(maker, shelf=Shelf(tmp_path / "file")).make(day)


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STORE_URL", f"sqlite:///{tmp_path / 'store.db'}")
    monkeypatch.setenv("REPORT_DIR", str(tmp_path / "reports"))
    monkeypatch.setenv("BUNDLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    return tmp_path / "reports"


def test_the_command_reports_a_window_even_while_mlflow_is_down(
    environment: Path, send: Send, capsys: pytest.CaptureFixture[str]
) -> None:
    send(200)
    code = main(["--contract", "credit_card", "--from", "2026-01-29", "--to", "2026-01-30", "--json"])

    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert code == 0
    assert answer["index"] == str(environment / "index.html")
    assert [(each["state"], each["rows"]) for each in answer["reports"]] == [("broken", 200)]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--from", "soon"], "error: 'soon': expected a date or a time such as"),
        (["--last-hours", "0"], "error: --last-hours 0: expected more than 0"),
    ],
)
def test_the_command_ends_with_a_sentence_and_code_1(
    environment: Path, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    assert capsys.readouterr().err.startswith(sentence)


def test_the_command_says_when_there_is_nothing_and_rebuilds_the_index(
    environment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--last-hours", "24"]) == 0
    assert "nothing to report" in capsys.readouterr().out
    assert main(["purge", "--keep-days", "1"]) == 0
    assert "There are no reports yet" in (environment / "index.html").read_text()
