"""One line changes, every other byte stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestration.env_file import EnvFileError, check_writable, value_in, write_run_id

NEW = "b" * 32


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "# who serves\nRUN_ID=old  # since May\nWEB_PORT=9696\n",
            f"# who serves\nRUN_ID={NEW}  # since May\nWEB_PORT=9696\n",
        ),
        ("export RUN_ID='old'\r\nX=1\r\n", f"export RUN_ID={NEW}\r\nX=1\r\n"),
        ("RUN_ID=", f"RUN_ID={NEW}"),
        ("X=1", f"X=1\nRUN_ID={NEW}\n"),
        ("", f"RUN_ID={NEW}\n"),
        ("#RUN_ID=kept\nOTHER_RUN_ID=kept\nRUN_ID=old", f"#RUN_ID=kept\nOTHER_RUN_ID=kept\nRUN_ID={NEW}"),
    ],
)
def test_only_the_run_id_changes(tmp_path: Path, before: str, after: str) -> None:
    path = tmp_path / ".env.cloud"
    path.write_bytes(before.encode())

    assert write_run_id(path, NEW) is True
    assert path.read_bytes() == after.encode()
    assert value_in(path, "RUN_ID") == NEW
    assert list(tmp_path.iterdir()) == [path]


def test_the_same_run_id_leaves_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / ".env.cloud"
    path.write_text(f"RUN_ID={NEW}\n")
    before = path.stat().st_mtime_ns

    assert write_run_id(path, NEW) is False
    assert path.stat().st_mtime_ns == before


def test_the_files_mode_and_a_link_to_it_are_kept(tmp_path: Path) -> None:
    path, link = tmp_path / "real", tmp_path / ".env.cloud"
    path.write_text("RUN_ID=old\n")
    path.chmod(0o640)
    link.symlink_to(path)
    write_run_id(link, NEW)

    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640
    assert value_in(path, "RUN_ID") == NEW


def test_a_file_that_is_not_there_is_told_before_anything_is_moved(tmp_path: Path) -> None:
    with pytest.raises(EnvFileError, match=r"absent cannot be edited: No such file"):
        check_writable(tmp_path / "absent")


def test_no_run_id_is_empty(tmp_path: Path) -> None:
    path = tmp_path / ".env.cloud"
    path.write_text("WEB_PORT=1\n")

    assert value_in(path, "RUN_ID") == ""
