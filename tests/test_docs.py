"""The pages say what the code does: generated ones are fresh, what they name exists, and every command is named."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from churn.contract import parse_contract
from churnwatch import ROOMS
from docs.build import FOLDER, PAGES
from docs.commands import commands, options
from web_service.problems import TITLES

ROOT = Path(__file__).resolve().parents[1]
PROSE = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
WRITTEN = [page for page in PROSE if page.parent.name != "reference"]
COMMAND = re.compile(r"(?:python -m|churnwatch) ([a-z_]+)((?:[^\n`\\|;)]|\\\n)*)")


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_fresh(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == PAGES[name](), "run `make docs`"


def test_every_make_target_that_a_page_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, flags=re.MULTILINE))
    named = {target for page in PROSE for target in re.findall(r"`make ([a-z][a-z-]*)", page.read_text("utf-8"))}

    assert named <= targets


def test_every_target_is_explained_in_the_help() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")

    assert not re.findall(r"^([a-z][a-z-]*):(?!.*## )(?!=)", makefile, flags=re.MULTILINE)


def test_every_room_that_a_page_starts_exists() -> None:
    rooms = {room for page in PROSE for room in re.findall(r"python -m ([a-z_]+)", page.read_text("utf-8"))}

    assert rooms
    assert all((ROOT / room / "__main__.py").exists() for room in rooms - {"docs", "benchmarks"})


def named_commands() -> Iterator[tuple[str, str, list[str]]]:
    """Every command that a page gives: where, the room's package, and the words after it."""
    packages = {short: package for short, (package, _) in ROOMS.items()}
    for page in WRITTEN:
        for room, rest in COMMAND.findall(page.read_text(encoding="utf-8")):
            package = packages.get(room, room)
            if package in packages.values():
                yield page.name, package, rest.replace("\\\n", " ").split()


def verb_of(package: str, words: list[str]) -> tuple[str, ...]:
    """The longest command that the words begin with; a room's first verb may be left out."""
    known = commands(package)
    found = max((tuple(words[:count]) for count in range(len(words) + 1) if tuple(words[:count]) in known), key=len)
    return found or list(known)[1]


def test_every_command_that_a_page_gives_exists_with_its_options() -> None:
    wrong = []
    for page, package, words in named_commands():
        verb = verb_of(package, words)
        known = options(commands(package)[verb]) | options(commands(package)[()])
        given = {word.strip("[]").split("=")[0] for word in words if re.match(r"\[?--[a-z]", word)}
        wrong += [f"{page}: {package} {' '.join(words)}: {option}" for option in given - known]

    assert wrong == []


def test_every_command_is_named_by_a_page_for_those_who_need_it() -> None:
    named = {(package, verb_of(package, words)) for _, package, words in named_commands()}
    known = {
        (package, verb)
        for package, _ in ROOMS.values()
        for verb in commands(package)
        if verb and not any(other[: len(verb)] == verb and other != verb for other in commands(package))
    }

    assert sorted(known - named) == []


def test_every_make_target_is_named_by_a_page() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, flags=re.MULTILINE))
    named = {target for page in WRITTEN for target in re.findall(r"\bmake ([a-z][a-z-]*)", page.read_text("utf-8"))}

    assert sorted(targets - named) == []


def test_every_kind_of_problem_is_in_the_callers_table() -> None:
    page = (ROOT / "docs" / "tutorials" / "call-it.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:3] for line in page.splitlines() if re.match(r"\| \d{3}", line)]
    listed = {(kind, int(status)) for codes, kinds in rows for kind in re.findall(r"`([a-z-]+)`", kinds)
              for status in re.findall(r"\d{3}", codes) if TITLES[kind][0] == int(status)}  # fmt: skip

    assert listed == {(kind, status) for kind, (status, _) in TITLES.items()}


def test_every_relative_link_leads_somewhere() -> None:
    broken = [
        f"{page.relative_to(ROOT)}: {link}"
        for page in PROSE
        for link in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text(encoding="utf-8"))
        if not (page.parent / link).exists()
    ]

    assert broken == []


def test_the_contract_in_the_documentation_is_a_contract() -> None:
    page = (ROOT / "docs" / "contracts.md").read_text(encoding="utf-8")
    text = re.search(r"```toml\n(.*?)```", page, flags=re.DOTALL)

    assert text is not None
    assert parse_contract(text[1]).feature_names == ("age", "plan", "city", "student")
