"""The tutorials, block by block, beside a running `make up`: what they say is printed is printed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.console import Terminal, steps
from tests.e2e.stage import PORTS, ROOT, AfterDemo, up

FOLDER = ROOT / "docs" / "tutorials"
PAGES = sorted(page.name for page in FOLDER.glob("*.md"))

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def standing(after_demo: AfterDemo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AfterDemo]:
    """What the pages ask for first: a demo, and then `make up`, with windows short enough to wait for."""
    log = tmp_path_factory.mktemp("up") / "log"
    with up({**after_demo.environment, "WINDOW_ROWS": "500", "WATCH_POLL_SECONDS": "2"}, log):
        yield after_demo


@pytest.fixture
def project(standing: AfterDemo, tmp_path: Path) -> Path:
    """The project's folder as a reader has it, but what the page writes stays in a temporary one."""
    folder = tmp_path / "project"
    folder.mkdir()
    for entry in ROOT.iterdir():
        if entry.name not in (".churnwatch", ".git", "__pycache__"):
            (folder / entry.name).symlink_to(entry)
    (folder / ".churnwatch").symlink_to(standing.home)
    return folder


@pytest.mark.parametrize("name", PAGES)
def test_a_page_says_what_happens(name: str, standing: AfterDemo, project: Path) -> None:
    page = with_ports((FOLDER / name).read_text(encoding="utf-8"), standing.environment)
    found = steps(page)

    with Terminal(project, standing.environment) as terminal:
        for step in found:
            printed = terminal.play(step)
            assert step.fits(printed), f"{name}, line {step.line}:\n{step.text}\nprinted\n{printed}\nnot\n{step.shown}"
    assert found


def with_ports(page: str, environment: dict[str, str]) -> str:
    for name, default in PORTS.items():
        page = re.sub(rf"(?<=:){default}\b", environment[name], page)
    return page
