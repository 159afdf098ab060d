"""Every shipped contract is answered, shown and documented alike; a positional body over HTTP is one more way in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from churn.contract import CONTRACTS_FOLDER, load_contract
from tests.fakes import make_bundle, random_customers, records
from web_service.openapi import document

DATA = [670, 1, 38, 7, 0.0, 2, 1, 1, 77864.41, 1, 0, 0]


@pytest.fixture
def serve(service: Any, tmp_path: Path, client: Any) -> Any:
    """A client of the service after a swap to a contract."""

    def swapped(name: str) -> Any:
        service.model.swap(make_bundle(tmp_path / name, name), "a test swapped it")
        return client

    return swapped


@pytest.mark.parametrize("name", sorted(path.stem for path in CONTRACTS_FOLDER.glob("*.toml")))
def test_every_shipped_contract_has_answers_a_page_and_a_document(serve: Any, name: str) -> None:
    client, contract = serve(name), load_contract(name)
    customers = records(random_customers(contract, 3, seed=1), contract)

    answers = client.post("/predict", json=customers).get_json()

    assert [answer["churn_label"] for answer in answers] == [contract.label(answer["churn"]) for answer in answers]
    assert client.post("/explain", json=customers[0]).status_code == 200
    assert contract.title in client.get("/").text
    validate(client.get("/openapi.json").get_json())


def test_a_positional_body_is_answered_alone_and_in_a_list(serve: Any) -> None:
    client = serve("bank")

    alone = client.post("/predict", json={"data": DATA, "event_id": "e-1"})
    both = client.post("/predict", json=[{"data": DATA}, {"data": DATA}]).get_json()

    assert alone.status_code == 200
    assert alone.get_json()["churn_label"] in ("Will Exit", "Will Not Exit")
    assert [one["churn_probability"] for one in both] == [alone.get_json()["churn_probability"]] * 2
    assert client.post("/explain", json={"data": DATA}).get_json()["contributions"]


def test_a_wrong_positional_body_is_told_by_its_place(serve: Any) -> None:
    client = serve("bank")

    short = client.post("/predict", json={"data": DATA[:5]})
    second = client.post("/predict", json=[{"data": DATA}, {"data": [*DATA[:2], "38", *DATA[3:]]}])
    beyond = client.post("/predict", json={"data": [9_999, *DATA[1:]]})

    assert (short.status_code, second.status_code, beyond.status_code) == (422, 422, 422)
    assert short.get_json()["errors"][0]["field"] == "data"
    assert second.get_json()["detail"] == "item 1: data[2]='38': expected a number: age"
    assert beyond.get_json()["errors"][0]["field"] == "credit_score"


def test_the_document_takes_the_positional_bodies_that_the_service_takes() -> None:
    described = document(load_contract("bank"), list_limit=10, keys_demanded=False)
    validator = Draft202012Validator({"$ref": "#/components/schemas/Customer", **described})

    assert validator.is_valid({"data": DATA})
    for wrong in (DATA[:11], [*DATA, 1], ["670", *DATA[1:]], [670, 2, *DATA[2:]]):
        assert not validator.is_valid({"data": wrong})
