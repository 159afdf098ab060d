"""The documentation as a site: it builds strictly, every link in it leads somewhere, and nothing leaves the machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]

pytestmark = pytest.mark.integration


class Links(HTMLParser):
    """What a page links to, what it loads, and the names that others may point at."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.loads: set[str] = set()
        self.names: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.names |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.add(given["href"])
        elif tag == "link" and given.get("rel") != "canonical":
            self.loads.add(given.get("href", ""))
        elif "src" in given:
            self.loads.add(given["src"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Links]:
    return {page: Links(page) for page in site.rglob("*.html")}


def test_every_link_and_anchor_leads_somewhere(pages: dict[Path, Links]) -> None:
    broken = [
        f"{page.name}: {link}"
        for page, found in pages.items()
        if page.name != "404.html"  # it may be shown at any address, so its links begin at the root
        for link in found.links | found.loads
        if not leads_somewhere(page, link, pages)
    ]

    assert len(pages) > 30
    assert broken == []


def leads_somewhere(page: Path, link: str, pages: dict[Path, Links]) -> bool:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return True
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if not target.is_file():
        return False
    return not parts.fragment or target not in pages or unquote(parts.fragment) in pages[target].names


def test_no_page_loads_anything_from_another_host(pages: dict[Path, Links]) -> None:
    outside = {load for found in pages.values() for load in found.loads if urlsplit(load).netloc}

    assert outside == set()


def test_the_core_has_a_place_in_the_reference(pages: dict[Path, Links]) -> None:
    names = set().union(*(found.names for found in pages.values()))

    assert {
        "churn.scoring.Scorer.score",
        "churn.encoder.Encoder.clean",
        "churn.store.interface.PredictionStore",
    } <= names


@pytest.fixture(scope="module")
def chromium() -> Iterator[object]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: install the package chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def test_a_site_opened_from_the_disk_can_be_searched_and_asks_no_host(site: Path, chromium: object) -> None:
    page = chromium.new_page()  # type: ignore[attr-defined]
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"file://{site}/tutorials/call-it.html")
    page.click("input.md-search__input")
    page.keyboard.type("golden answers")
    page.wait_for_selector(".md-search-result__item a[href*='glossary']", timeout=20_000)
    page.close()

    assert [address for address in asked if not address.startswith(("file:", "data:", "about:"))] == []
