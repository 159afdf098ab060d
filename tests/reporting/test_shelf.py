"""The folder of reports: whole or not at all, and nothing outside of it."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from churn.errors import ReportError
from reporting.document import Figures, Report, to_json
from reporting.shelf import Shelf
from reporting.window import Window

DAY = datetime(2026, 1, 29, tzinfo=UTC)


def put(shelf: Shelf, start: datetime, run: str = "run", text: str = "page") -> str:
    window = Window(start, start + timedelta(days=1))
    figures = Figures(0, {}, 0, None, [], 0, None, None, None, None)
    report = Report("c", "C", run, window.start, window.end, window.end, "empty", "", figures)
    path = shelf.path("c", window, run)
    with shelf.workplace() as folder:
        (folder / "index.html").write_text(text)
        (folder / "summary.json").write_bytes(to_json(report))
        shelf.publish(folder, path)
    return path


def hidden(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir() if entry.name.startswith(".")]


def test_a_report_is_found_again_newest_first(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    paths = [put(shelf, DAY + timedelta(days=index)) for index in range(3)]

    assert [path for path, _ in shelf.reports()] == paths[::-1]
    assert [path for path, _ in shelf.reports("other")] == []
    assert hidden(tmp_path) == []


def test_a_second_report_takes_the_place_of_the_first(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    put(shelf, DAY, text="first")
    path = put(shelf, DAY, text="second")

    assert (tmp_path / path / "index.html").read_text() == "second"
    assert hidden(tmp_path) == []


def test_a_report_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)

    def fail() -> None:
        with shelf.workplace() as folder:
            (folder / "index.html").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("run", ["../../etc", "a/b", ".hidden", "", "x" * 300, "ünïcode", "a b"])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, run: str) -> None:
    path = put(Shelf(tmp_path), DAY, run)

    place = (tmp_path / path).resolve()
    assert place.is_relative_to(tmp_path / "c" / "20260129T000000Z--20260130T000000Z")
    assert place.name.startswith("other-")


def test_a_folder_that_cannot_be_written_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    shelf = Shelf(tmp_path / "file")

    with pytest.raises(ReportError, match=r"REPORT_DIR=.*file: cannot be written: "):
        put(shelf, DAY)


def test_a_damaged_twin_is_passed_over(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    good, bad = put(shelf, DAY), put(shelf, DAY + timedelta(days=1))
    (tmp_path / bad / "summary.json").write_text("{")

    assert [path for path, _ in shelf.reports()] == [good]


def test_purge_removes_old_reports_and_what_crashes_left(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    old, new = put(shelf, DAY - timedelta(days=9)), put(shelf, DAY)
    left = tmp_path / ".making-crashed"
    left.mkdir()
    os.utime(left, (0, 0))

    assert shelf.purge(before=DAY) == [old]
    assert not (tmp_path / old).parent.exists()
    assert (tmp_path / new / "index.html").is_file()
    assert hidden(tmp_path) == []


def test_pages_can_be_read_by_the_web_server(tmp_path: Path) -> None:
    path = put(Shelf(tmp_path), DAY)

    assert (tmp_path / path).stat().st_mode & 0o777 == 0o755
