"""The pages say what the code does: generated ones are fresh, and every command they name exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from churn.contract import parse_contract
from docs.build import FOLDER, PAGES

ROOT = Path(__file__).resolve().parents[1]
PROSE = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


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
