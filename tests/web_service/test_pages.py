"""The page and its files, as bytes: what the form holds, which headers go with it, what is not served."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import pytest

from churn.bundle import Bundle
from churn.contract import Contract, load_contract, parse_contract
from tests.fakes import make_bundle
from web_service.examples import customer_at_risk, typical_customer
from web_service.pages import STATIC_FILES, Pages

EVERY_TYPE = Path(__file__).parents[1] / "contracts" / "every_type.toml"


def controls(page: str) -> dict[str, str]:
    """Each control of the form by its name: its opening tag."""
    tags = re.findall(r"<(?:input|select)\s[^>]*>", page)
    named = [(re.search(r'\bname="([^"]+)"', tag), html.unescape(tag)) for tag in tags]
    return {html.unescape(match[1]): tag for match, tag in named if match}


def test_the_form_has_a_control_for_every_feature(client: Any, credit_card: Contract) -> None:
    found = controls(client.get("/").text)

    assert set(found) == {*credit_card.feature_names, "customer_id"}
    age = found["customer_age"]
    for part in ('type="number"', 'min="18"', 'max="120"', 'step="1"', "required", 'data-unit="years"'):
        assert part in age
    assert 'step="any"' in found["credit_limit"]
    assert "required" not in found["education_level"]
    assert found["education_level"].startswith("<select")


def test_each_control_is_told_by_label_help_and_error(client: Any, credit_card: Contract) -> None:
    page = client.get("/").text

    for name in credit_card.feature_names:
        assert f'<label for="field-{name}">' in page
        assert f'aria-describedby="field-{name}-help field-{name}-error"' in page
        assert f'id="field-{name}-help"' in page
        assert f'id="field-{name}-error"' in page


def test_any_contract_makes_a_form_of_unique_parts(service: Any, tmp_path: Any) -> None:
    service.model.swap(make_bundle(tmp_path / "b", str(EVERY_TYPE)), "a test swapped it")
    page = Pages(service.model, list_limit=10, keys_demanded=False).home().body.decode()

    assert set(controls(page)) == {*load_contract(EVERY_TYPE).feature_names, "customer_id"}
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    referred = {name for names in re.findall(r'aria-describedby="([^"]*)"', page) for name in names.split()}
    assert referred <= set(ids)
    assert set(re.findall(r'<label for="([^"]*)"', page)) <= set(ids)


def test_levels_are_options_in_their_order(client: Any, credit_card: Contract) -> None:
    page = client.get("/").text
    select = page[page.index('<select id="field-card_category"') :].partition("</select>")[0]

    assert re.findall(r"<option[^>]*>([^<]*)", select) == ["Choose…", *credit_card.feature("card_category").levels]


def test_nothing_is_inline_and_nothing_comes_from_elsewhere(client: Any) -> None:
    for path in ("/", "/docs"):
        response = client.get(path)

        assert re.findall(r"<script(?![^>]*\bsrc=)", response.text) == []
        assert re.findall(r"<style|\bstyle=|\son\w+=", response.text) == []
        assert re.findall(r'(?:src|href)="(?:https?:)?//', response.text) == []
        policy = response.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'self'")
        assert "script-src" not in policy  # so default-src rules: our own files only
        assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_every_file_that_the_pages_name_is_served(client: Any) -> None:
    for path in ("/", "/docs"):
        for name in set(re.findall(r'(?:src|href)="((?:static|docs)/[^"]+)"', client.get(path).text)):
            assert client.get(f"/{name}").status_code == 200, name
    for file in STATIC_FILES.iterdir():
        text = file.read_text()
        for name in re.findall(r'(?:from|@import) "(?:\./)?([\w.]+)"', text):
            assert client.get(f"/static/{name}").status_code == 200, name


@pytest.mark.parametrize(
    "path",
    [
        "/static/nothing.js",
        "/static/..%2fpages.py",
        "/static/%2e%2e/pages.py",
        "/docs/LICENSE",
        "/docs/..%2f__init__.py",
    ],
)
def test_no_other_file_is_served(client: Any, path: str) -> None:
    response = client.get(path)

    assert response.status_code == 404
    assert response.content_type == "application/problem+json"


def test_a_browser_that_has_a_file_is_not_sent_it_again(client: Any) -> None:
    first = client.get("/static/page.css")
    second = client.get("/static/page.css", headers={"If-None-Match": first.headers["ETag"]})

    assert first.headers["Cache-Control"] == "no-cache"
    assert second.status_code == 304
    assert second.data == b""


def test_the_page_follows_a_swap(client: Any, service: Any, tmp_path: Any) -> None:
    before = client.get("/").text
    service.model.swap(make_bundle(tmp_path / "b", run_id="b" * 32, seed=1), "a test swapped it")
    after = client.get("/").text

    assert "a" * 32 in before
    assert "b" * 32 in after
    assert "a" * 32 not in after


def test_a_contract_cannot_write_markup_into_the_page(service: Any, bundle: Bundle) -> None:
    hostile = bundle.contract.text.replace('"Credit card churn"', "'<script>alert(1)</script>\"'")
    hostile = hostile.replace('"Gender as the bank records it"', "'\"><img src=x onerror=alert(1)>'")
    swapped = Bundle(**{**vars(bundle), "contract": parse_contract(hostile)})
    service.model.swap(swapped, "a test swapped it")

    page = Pages(service.model, list_limit=10, keys_demanded=False).home().body.decode()

    assert "alert(1)" in page
    assert "<script>alert" not in page
    assert "<img src=x" not in page


def test_the_key_field_is_there_only_where_keys_are_demanded(service: Any) -> None:
    def page(keys_demanded: bool) -> str:
        return Pages(service.model, list_limit=10, keys_demanded=keys_demanded).home().body.decode()

    assert 'id="api-key"' in page(True)
    assert 'id="api-key"' not in page(False)


def test_examples_are_valid_whole_customers(client: Any, bundle: Bundle) -> None:
    page = client.get("/").text
    examples = json.loads(html.unescape(re.search(r'data-examples="([^"]*)"', page)[1]))  # type: ignore[index]

    assert examples == {"typical": typical_customer(bundle), "at_risk": customer_at_risk(bundle)}
    for example in examples.values():
        assert list(example) == list(bundle.contract.feature_names)
        assert client.post("/predict", json=example).get_json()["missing"] == []


def test_an_example_is_the_reference_s_middle_and_the_other_is_at_risk(bundle: Bundle) -> None:
    typical, at_risk = typical_customer(bundle), customer_at_risk(bundle)
    reference = bundle.reference()

    assert abs(typical["customer_age"] - reference["customer_age"].median()) <= 3  # type: ignore[operator]
    assert typical["gender"] == reference["gender"].mode()[0]
    rows = bundle.encoder.matrix([bundle.encoder.clean(record) for record in (typical, at_risk)])
    probabilities = bundle.probabilities(rows)
    assert probabilities[0] < bundle.threshold < probabilities[1]
    assert at_risk == customer_at_risk(bundle)
