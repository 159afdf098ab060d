"""Every command of every room: reachable by `churnwatch`, helpful, and alike in how it ends."""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

import churnwatch
from churn.command_line import EXIT_CODES, finish, progress, wants_colour, with_verb
from churn.errors import ChurnwatchError, Refused
from docs.commands import commands, options, parser_of

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = [package for package, _ in churnwatch.ROOMS.values()]
NOTHING_TO_READ = {"serve", "ship", "demo", "up"}
"""Verbs whose output is for people: they stay, or play."""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_command_leads_to_every_room_that_can_be_started() -> None:
    rooms = {path.parent.name for path in ROOT.glob("*/__main__.py")} - {"benchmarks", "docs", "tests"}

    assert set(PACKAGES) == rooms


def verbs(package: str) -> dict[str, argparse.ArgumentParser]:
    """The parsers of verbs that do something, not of those that only have verbs below them."""
    found = {" ".join(words): parser for words, parser in commands(package).items() if words}
    return {verb: parser for verb, parser in found.items() if not any(other.startswith(f"{verb} ") for other in found)}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_verb_has_a_word_for_scripts_and_the_room_tells_its_exit_codes(package: str) -> None:
    parser = parser_of(package)

    assert verbs(package)
    assert "3 refused" in " ".join(parser.format_help().split())
    assert parser.prog == f"python -m {package}"
    for verb, below in verbs(package).items():
        assert "--json" in options(below) or verb in NOTHING_TO_READ, f"{package} {verb} has no --json"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_verb_answers_help(package: str) -> None:
    for words, parser in commands(package).items():
        assert " ".join(("usage: python -m", package, *words)) in " ".join(parser.format_help().split())


@pytest.mark.integration
def test_every_room_answers_help_as_a_process_by_both_spellings() -> None:
    for room, (package, _) in churnwatch.ROOMS.items():
        for command in ([sys.executable, "-m", package], [sys.executable, str(ROOT / "churnwatch.py"), room]):
            done = subprocess.run([*command, "--help"], cwd=ROOT, capture_output=True, text=True, check=False)

            assert (done.returncode, done.stderr) == (0, ""), command
            assert f"python -m {package}" in done.stdout
            wrong = subprocess.run([*command, "no-such-verb"], cwd=ROOT, capture_output=True, text=True, check=False)
            assert wrong.returncode == 2, command


def test_its_version_is_the_projects() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert project["version"] == churnwatch.VERSION


def test_a_room_that_is_none_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert churnwatch.main(["kitchen"]) == 2
    assert "kitchen: no such room; there are train, web" in capsys.readouterr().err
    assert churnwatch.main([]) == 0
    assert "rooms:" in capsys.readouterr().out


def raising(error: BaseException) -> Callable[[], int | None]:
    def work() -> int | None:
        raise error

    return work


def test_how_a_command_ended_is_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert finish(lambda: None) == 0
    assert finish(raising(ChurnwatchError("the store is away"))) == 1
    assert finish(raising(Refused("not promoted"))) == 3
    assert finish(raising(KeyboardInterrupt())) == 130

    assert capsys.readouterr().err == "error: the store is away\nrefused: not promoted\nstopped\n"
    assert all(f"{code} " in EXIT_CODES for code in ("0", "1", "2", "3", "130"))


def test_the_verb_that_is_mostly_meant_may_be_left_out() -> None:
    known = ("serve", "status")

    assert with_verb([], known, "serve") == ["serve"]
    assert with_verb(["--once"], known, "serve") == ["serve", "--once"]
    assert with_verb(["status", "--json"], known, "serve") == ["status", "--json"]
    assert with_verb(["--help"], known, "serve") == ["--help"]
    assert with_verb(["stauts"], known, "serve") == ["stauts"]


def test_colour_and_progress_are_for_terminals_and_no_color_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert wants_colour(Terminal())
    assert not wants_colour(io.StringIO())
    shown, piped = Terminal(), io.StringIO()
    for stream in (shown, piped):
        with progress(stream) as say:
            say("3 of 7")

    assert "3 of 7" in shown.getvalue()
    assert piped.getvalue() == ""
    monkeypatch.setenv("NO_COLOR", "1")
    assert not wants_colour(Terminal())
