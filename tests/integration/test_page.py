"""The page and /docs in a real browser, on the real service: form, answer, reasons, problems, no other host."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from churn.bundle import Bundle

pytestmark = pytest.mark.integration

CHROMIUM = next((path for path in ("/usr/bin/chromium", "/usr/bin/chromium-browser") if os.path.exists(path)), None)
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium here: install the package 'chromium'")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A fresh tab. In the end: no error on the page, and no request has left the machine."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    page = context.new_page()
    requested: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    yield page
    context.close()
    assert {urlsplit(url).hostname for url in requested if not url.startswith("data:")} == {"127.0.0.1"}
    assert [error for error in errors if "status of 4" not in error] == []  # a browser logs refused requests itself


def predict(page: Any) -> None:
    page.get_by_role("button", name="Predict").click()


def test_a_filled_form_is_answered_with_a_gauge_and_its_reasons(page: Any, web_address: str, bundle: Bundle) -> None:
    page.goto(web_address)
    page.get_by_role("button", name="Customer at risk").click()
    page.fill("#customer_id", "c-42")
    with page.expect_response("**/predict") as predicted, page.expect_response("**/explain") as explained:
        predict(page)
    answer, explanation = predicted.value.json(), explained.value.json()

    assert answer["customer_id"] == "c-42"
    assert answer["missing"] == []
    page.wait_for_selector("#bars li")
    shown = f"{100 * answer['churn_probability']:.1f} %"
    assert page.text_content("#gauge .percent") == shown
    assert page.text_content("#verdict") == "Churn"
    assert page.get_attribute("#gauge", "aria-label") == f"{shown} likely to churn; the threshold is 50.0 %"
    assert page.text_content("#prediction-id") == answer["prediction_id"]
    assert page.text_content("#model") == bundle.run_id[:8]
    words = page.locator("#bars .words").all_text_contents()
    assert words == [part["description"] for part in explanation["contributions"][:8]] + ["10 other features"]
    amounts = [float(text.replace("−", "-")) for text in page.locator("#bars .amount").all_text_contents()]
    assert amounts[0] == round(explanation["contributions"][0]["log_odds"], 2)


def test_a_wrong_value_is_told_beside_its_field(page: Any, web_address: str) -> None:
    page.goto(web_address)
    page.get_by_role("button", name="Typical customer").click()
    page.fill("#customer_age", "7")
    page.select_option("#gender", "")
    predict(page)
    page.wait_for_selector("#customer_age[aria-invalid=true]")

    assert page.text_content("#customer_age-error") == "Expected a whole number from 18 to 120 (years)."
    assert "it is required" in page.text_content("#gender-error")
    assert page.text_content("#problem") == "2 fields need mending."
    assert page.evaluate("document.activeElement.id") == "customer_age"
    assert "customer_age-error" in page.get_attribute("#customer_age", "aria-describedby")
    page.fill("#customer_age", "47")
    page.select_option("#gender", "F")
    predict(page)
    page.wait_for_selector("#bars li")
    assert page.locator("[aria-invalid]").count() == 0
    assert page.text_content("#customer_age-error") == ""


def test_the_form_can_be_sent_by_the_keyboard_alone(page: Any, web_address: str) -> None:
    page.goto(web_address)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the form"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Typical customer"
    page.keyboard.press("Enter")
    page.locator("#customer_age").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#bars li")
    assert page.text_content("#verdict") == "Stay"


def test_what_is_not_known_may_stay_empty_and_is_told(page: Any, web_address: str) -> None:
    page.goto(web_address)
    page.get_by_role("button", name="Typical customer").click()
    page.fill("#total_trans_ct", "")
    predict(page)
    page.wait_for_selector("#bars li")

    assert page.text_content("#notes") == "Not known: Total trans ct."
    assert page.is_hidden("#stale")
    page.fill("#total_trans_ct", "40")
    assert page.is_visible("#stale")


def test_a_demanded_key_is_asked_for_and_kept_in_the_tab(page: Any, locked_web: tuple[str, str]) -> None:
    address, key = locked_web
    page.goto(address)
    page.get_by_role("button", name="Typical customer").click()
    predict(page)
    page.wait_for_selector("#api-key[aria-invalid=true]")
    assert page.evaluate("document.activeElement.id") == "api-key"
    page.fill("#api-key", key)
    predict(page)
    page.wait_for_selector("#bars li")
    page.reload()

    assert page.input_value("#api-key") == key


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_screen_needs_no_sideways_scrolling(browser: Any, web_address: str, scheme: str) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 740}, color_scheme=scheme)
    page = context.new_page()
    for path in ("/", "/docs"):
        page.goto(f"{web_address}{path}")
        page.wait_for_load_state("networkidle")
        width = page.evaluate("document.documentElement.scrollWidth")

        assert width == 360, path
    context.close()


def test_the_docs_show_every_route_and_try_one(page: Any, web_address: str) -> None:
    page.goto(f"{web_address}/docs")
    page.wait_for_selector(".opblock")

    with urllib.request.urlopen(f"{web_address}/openapi.json") as response:
        paths = json.load(response)["paths"]
    shown = [text.replace("\u200b", "") for text in page.locator(".opblock-summary-path").all_text_contents()]
    assert sorted(shown) == sorted(paths)
    page.click("#operations-Predictions-predict .opblock-summary-control")
    page.click("#operations-Predictions-predict .try-out__btn")
    with page.expect_response("**/predict") as predicted:
        page.click("#operations-Predictions-predict .execute")
    assert predicted.value.status == 200
    assert 0 <= predicted.value.json()["churn_probability"] <= 1
