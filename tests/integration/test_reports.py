"""Reports as users meet them: made by the command, with Evidently itself, served by nginx, opened in Chromium."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import urllib3

from churn.bundle import Bundle
from churn.prediction import Prediction
from churn.scoring import Scorer
from churn.store import open_store
from reporting.maker import Maker
from reporting.shelf import Shelf
from reporting.window import Window
from tests.fakes import random_customers, records

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
DAY = datetime(2026, 1, 29, tzinfo=UTC)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]


@pytest.fixture(scope="module")
def shelf(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """Two days of traffic, the second shifted, reported on with Evidently itself."""
    folder = tmp_path_factory.mktemp("reports")
    store = open_store(f"sqlite:///{folder / 'store.db'}")
    store.check()
    for number in (0, 1):
        customers = records(random_customers(bundle.contract, 600, number + 1), bundle.contract)
        if number:
            for customer in customers:
                customer["credit_limit"] += 200.0
        store.save(
            [
                msgspec.structs.replace(p, created_at=DAY + timedelta(days=number, minutes=2 * index))
                for index, p in enumerate(Scorer(bundle).score(customers, "http"))
                if isinstance(p, Prediction)
            ]
        )
    shelf = Shelf(folder / "reports")
    maker = Maker(store, shelf, lambda run, contract: bundle, lambda: DAY + timedelta(days=2))
    for number in (0, 1):
        maker.make(Window(DAY + timedelta(days=number), DAY + timedelta(days=number + 1)))
    store.close()
    return shelf


@pytest.fixture(scope="module")
def newest(shelf: Shelf) -> str:
    return next(path for path, _ in shelf.reports())


def test_evidently_itself_agrees_on_the_shifted_column(shelf: Shelf, newest: str) -> None:
    report = dict(shelf.reports())[newest]

    assert report.drifted == ["credit_limit"]
    assert report.evidently is not None
    assert [score["column"] for score in report.evidently.scores if score["drifted"]] == ["credit_limit"]
    assert (shelf.folder / newest / "evidently.html").stat().st_size > 1_000_000
    assert (shelf.folder / newest / "index.html").stat().st_size < 300_000


# Chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: install the package chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def opened(browser: Any, address: str, **options: Any) -> tuple[Any, list[str], list[str]]:
    """The page, every address it asked for, and every complaint of the browser."""
    page = browser.new_page(**options)
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(address)
    return page, asked, complaints


@pytest.mark.parametrize("width", [1_200, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_summary_fits_the_screen_and_fetches_nothing(
    browser: Any, shelf: Shelf, newest: str, width: int, scheme: str
) -> None:
    address = (shelf.folder / newest / "index.html").as_uri()
    page, asked, complaints = opened(browser, address, viewport={"width": width, "height": 900}, color_scheme=scheme)

    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("svg").count() > 20
    assert page.locator(".state").inner_text().startswith("▲ 1 column drifted")
    assert (asked, complaints) == ([address], [])
    page.close()


def test_evidentlys_scores_can_be_reached_on_a_narrow_screen(browser: Any, shelf: Shelf, newest: str) -> None:
    """A box that hides what does not fit would hide them for good: the page itself does not scroll sideways."""
    address = (shelf.folder / newest / "evidently.html").as_uri()
    page, _, complaints = opened(browser, address, viewport={"width": 390, "height": 900})
    score = page.get_by_text("Drift Score", exact=True).first
    score.wait_for()
    page.mouse.move(200, 600)
    page.mouse.wheel(2_000, 0)
    page.wait_for_function("(e) => e.getBoundingClientRect().right <= innerWidth", arg=score.element_handle())

    assert complaints == []
    page.close()


def test_links_lead_from_page_to_page(browser: Any, shelf: Shelf, newest: str) -> None:
    page, _, _ = opened(browser, (shelf.folder / newest / "index.html").as_uri())
    page.get_by_text("The report before").click()
    assert page.locator(".state").inner_text().startswith("✓ Quiet")
    page.get_by_text("all reports").click()
    assert page.locator("tbody tr").count() == 2
    page.close()


def test_the_index_finds_by_word_state_and_day(browser: Any, shelf: Shelf) -> None:
    page, asked, complaints = opened(browser, (shelf.folder / "index.html").as_uri())
    found = page.locator("tbody tr:visible")
    assert found.count() == 2
    page.fill("[name=text]", "CREDIT_limit")
    assert found.count() == 1
    page.fill("[name=text]", "")
    page.select_option("[name=state]", "ok")
    assert found.count() == 1
    assert page.locator("#count").inner_text() == "1 of 2 reports"
    page.select_option("[name=state]", "")
    page.fill("[name=from]", "2026-01-30")
    assert found.count() == 1
    page.fill("[name=to]", "2026-01-28")
    assert found.count() == 0
    assert (len(asked), complaints) == (1, [])
    page.close()


# Nginx


@pytest.fixture(scope="module")
def nginx(shelf: Shelf, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """nginx with our own file, on a free port."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        pytest.skip("no nginx on this machine: install the package nginx-light")
    prefix = tmp_path_factory.mktemp("nginx")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    text = (ROOT / "reporting" / "nginx" / "reports.conf").read_text()
    assert "127.0.0.1:8888" in text
    assert "/srv/reports" in text
    (prefix / "reports.conf").write_text(
        text.replace("127.0.0.1:8888", f"127.0.0.1:{port}").replace("/srv/reports", str(shelf.folder))
    )
    temporary = "".join(f"{kind}_temp_path {kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (prefix / "nginx.conf").write_text(
        ("user root;\n" if os.getuid() == 0 else "")
        + "daemon off; master_process off; pid nginx.pid; error_log error.log;\nevents {}\n"
        + "http { types { text/html html; application/json json; } access_log off;\n"
        + f"{temporary}include reports.conf; }}\n"
    )
    process = subprocess.Popen([program, "-p", str(prefix), "-c", "nginx.conf", "-e", "error.log"])
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.02)
    assert process.poll() is None, (prefix / "error.log").read_text()
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(10)


def get(address: str, method: str = "GET", **headers: str) -> urllib3.BaseHTTPResponse:
    return urllib3.request(method, address, headers=headers, redirect=False, retries=False, decode_content=False)


def test_nginx_serves_what_is_a_report_compressed_and_closed(nginx: str, newest: str) -> None:
    for path in ("", "index.html", "index.json", f"{newest}/", f"{newest}/index.html", f"{newest}/summary.json"):
        answer = get(f"{nginx}/{path}", **{"Accept-Encoding": "gzip"})
        assert (path, answer.status) == (path, 200)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert "nginx/" not in answer.headers["Server"]
        if not path.startswith("index.json"):
            assert answer.headers["Content-Encoding"] == "gzip"
    assert get(f"{nginx}/").headers["Cache-Control"] == "no-cache"
    assert get(f"{nginx}/{newest}/index.html").headers["Cache-Control"] == "private, max-age=300"
    assert get(f"{nginx}/{newest}/evidently.html").headers["Cache-Control"] == "private, max-age=3600"


def test_nginx_answers_304_to_who_has_it(nginx: str, newest: str) -> None:
    tag = get(f"{nginx}/{newest}/summary.json").headers["ETag"]

    assert get(f"{nginx}/{newest}/summary.json", **{"If-None-Match": tag}).status == 304


@pytest.mark.parametrize(
    "path",
    [
        "store.db",
        "../store.db",
        "..%2fstore.db",
        "%2e%2e/store.db",
        "credit_card/",
        "credit_card/../../store.db",
        ".making-x/index.html",
        "link/index.html",
        "credit_card/20260129T000000Z--20260130T000000Z/",
        "credit_card/20260129T000000Z--20260130T000000Z/link/index.html",
        "notes.txt",
        "etc/passwd",
    ],
)
def test_nginx_serves_nothing_else(nginx: str, shelf: Shelf, path: str) -> None:
    (shelf.folder / "notes.txt").write_text("not a report")
    hidden = shelf.folder / ".making-x"
    hidden.mkdir(exist_ok=True)
    (hidden / "index.html").write_text("half")
    outside = shelf.folder.parent / "outside"
    outside.mkdir(exist_ok=True)
    (outside / "index.html").write_text("not ours")
    for link in (shelf.folder / "link", shelf.folder / "credit_card/20260129T000000Z--20260130T000000Z/link"):
        if not link.is_symlink():
            link.symlink_to(outside)

    assert raw(nginx, path) in (b"400", b"403", b"404")


def raw(address: str, path: str) -> bytes:
    """The status of a path that no client library has tidied."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(f"GET /{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        return connection.recv(1_024).split(b" ")[1]


def test_nginx_takes_no_writes(nginx: str, newest: str) -> None:
    assert [get(f"{nginx}/{newest}/index.html", method).status for method in ("POST", "PUT", "DELETE")] == [405] * 3


def test_evidently_works_behind_nginx_and_asks_for_nothing_else(browser: Any, nginx: str, newest: str) -> None:
    address = f"{nginx}/{newest}/evidently.html"
    page, asked, complaints = opened(browser, address)
    page.get_by_text("Drifted Columns", exact=True).wait_for(timeout=20_000)
    page.get_by_placeholder("Search").fill("credit_limit")
    page.get_by_text("credit_limit").first.wait_for(timeout=20_000)

    assert [each for each in asked if not each.startswith(("data:", "blob:"))] == [address]
    assert [each for each in complaints if "favicon" not in each] == []
    page.close()


# The command


def test_the_command_alone_makes_the_whole_report(bundle_folder: Path, bundle: Bundle, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    shutil.copytree(bundle_folder, cache / "bundles" / bundle.digest)
    pointer = cache / "pointers" / bundle.run_id
    pointer.parent.mkdir()
    pointer.write_text(json.dumps({"run_id": bundle.run_id, "digest": bundle.digest}))
    store = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    store.check()
    customers = records(random_customers(bundle.contract, 150, 3), bundle.contract)
    store.save([p for p in Scorer(bundle).score(customers, "batch") if isinstance(p, Prediction)])
    environment = {
        **os.environ,
        "STORE_URL": f"sqlite:///{tmp_path / 'store.db'}",
        "REPORT_DIR": str(tmp_path / "reports"),
        "BUNDLE_CACHE": str(cache),
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
    }
    command = [sys.executable, "-m", "reporting", "--contract", "credit_card", "--last-hours", "1", "--json"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert [(each["state"], each["rows"]) for each in answer["reports"]] == [("ok", 150)]
    assert Path(answer["index"]).is_file()
    assert (tmp_path / "reports" / answer["reports"][0]["path"] / "evidently.html").is_file()
