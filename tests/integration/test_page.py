"""The page and /docs in a real browser, on the real service: form, answer, reasons, problems, no other host."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from churn.bundle import Bundle
from tests.fakes import make_bundle
from tests.services import web_service

pytestmark = pytest.mark.integration

CHROMIUM = next((path for path in ("/usr/bin/chromium", "/usr/bin/chromium-browser") if os.path.exists(path)), None)
EVERY_TYPE = Path(__file__).parents[1] / "contracts" / "every_type.toml"
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

    assert len(answer["customer_id"]) == 32  # its pseudonym
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
    page.fill("#field-customer_age", "7")
    page.select_option("#field-gender", "")
    predict(page)
    page.wait_for_selector("#field-customer_age[aria-invalid=true]")

    assert page.text_content("#field-customer_age-error") == "Expected a whole number from 18 to 120 (years)."
    assert "it is required" in page.text_content("#field-gender-error")
    assert page.text_content("#problem") == "2 fields need mending."
    assert page.evaluate("document.activeElement.id") == "field-customer_age"
    assert "field-customer_age-error" in page.get_attribute("#field-customer_age", "aria-describedby")
    page.fill("#field-customer_age", "47")
    page.select_option("#field-gender", "F")
    predict(page)
    page.wait_for_selector("#bars li")
    assert page.locator("[aria-invalid]").count() == 0
    assert page.text_content("#field-customer_age-error") == ""


def test_the_form_can_be_sent_by_the_keyboard_alone(page: Any, web_address: str) -> None:
    page.goto(web_address)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the form"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Typical customer"
    page.keyboard.press("Enter")
    page.locator("#field-customer_age").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#bars li")
    assert page.text_content("#verdict") == "Stay"


def test_what_is_not_known_may_stay_empty_and_is_told(page: Any, web_address: str) -> None:
    page.goto(web_address)
    page.get_by_role("button", name="Typical customer").click()
    page.fill("#field-total_trans_ct", "")
    predict(page)
    page.wait_for_selector("#bars li")

    assert page.text_content("#notes") == "Not known: Total trans ct."
    assert page.is_hidden("#stale")
    page.fill("#field-total_trans_ct", "40")
    assert page.is_visible("#stale")


def test_every_type_of_feature_reaches_the_service_as_what_it_is(
    page: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("every_type")
    bundle = make_bundle(home / "bundle", str(EVERY_TYPE))
    with web_service(bundle, home) as address:
        page.goto(address)
        page.get_by_role("button", name="Typical customer").click()
        page.get_by_label("Active").select_option("No")
        page.get_by_label("Odd <name> & more").select_option("Yes")
        page.get_by_label("Grade").select_option("middle")
        page.get_by_label("Tier").select_option("")
        page.get_by_label("Balance").fill("-2.5")
        with page.expect_request("**/predict") as asked:
            predict(page)
        page.wait_for_selector("#bars li")
        sent = asked.value.post_data_json
        page.get_by_role("spinbutton", name="Answer").fill("1.5")
        predict(page)
        page.wait_for_selector("text=Expected a number from 0 to 1.")

    assert {name: sent.get(name) for name in ("active", "odd <name> & more", "grade", "tier", "balance")} == {
        "active": False,
        "odd <name> & more": True,
        "grade": "middle",
        "tier": None,
        "balance": -2.5,
    }
    assert type(sent["age"]) is int


def test_a_demanded_key_is_asked_for_and_kept_in_the_tab(page: Any, locked_web: tuple[str, str]) -> None:
    address, key = locked_web
    page.goto(address)
    page.get_by_role("button", name="Typical customer").click()
    predict(page)
    page.wait_for_selector("#api-key[aria-invalid=true]")
    assert page.evaluate("document.activeElement.id") == "api-key"
    assert page.text_content("#api-key-error") == "An API key is needed."
    page.fill("#api-key", "cw_wrong")
    predict(page)
    page.wait_for_selector("text=This key is not known.")
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
