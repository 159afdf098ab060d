"""POST /predict: what is answered, what is logged, and what each wrong request is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest

from churn.pseudonym import pseudonyms
from churn.scoring import Scorer
from churn.uniform import read_uniform
from tests.fakes import pseudonym_key
from web_service.strict_json import LONG_BYTES


def test_an_object_is_answered_with_an_object(client: Any, customer: dict[str, Any], bundle: Any) -> None:
    response = client.post("/predict", json={**customer, "customer_id": "c-1"})

    assert response.status_code == 200
    assert response.content_type == "application/json"
    cleaned = bundle.encoder.clean(customer)
    expected = bundle.probabilities(bundle.encoder.matrix([cleaned]))[0]
    answer = response.get_json()
    assert answer == {
        "prediction_id": answer["prediction_id"],
        "churn_probability": float(expected),
        "churn": bool(expected >= 0.5),
        "threshold": 0.5,
        "model_run_id": "a" * 32,
        "contract": "credit_card",
        "contract_hash": bundle.contract.hash,
        "created_at": "2026-01-31T12:00:00Z",
        "missing": list(cleaned.missing),
        "unknown": [],
        "ignored": 0,
        "churn_label": "churn" if expected >= 0.5 else "stay",
        "customer_id": pseudonyms(bundle.contract, pseudonym_key)("c-1"),
    }


def test_what_was_answered_is_what_was_logged(client: Any, journal: Any, customers: list[dict[str, Any]]) -> None:
    answers = client.post("/predict", json=customers).get_json()

    logged = {p.prediction_id: p.churn_probability for p in journal.predictions}
    assert {a["prediction_id"]: a["churn_probability"] for a in answers} == logged
    assert len(logged) == len(customers)


def test_a_list_is_answered_in_its_order(client: Any, customers: list[dict[str, Any]], bundle: Any) -> None:
    answers = client.post("/predict", json=customers).get_json()

    expected = [Scorer(bundle).score_one(record, "http").churn_probability for record in customers]
    np.testing.assert_array_equal([a["churn_probability"] for a in answers], expected)


def test_an_empty_list_is_answered_with_an_empty_list(client: Any) -> None:
    assert client.post("/predict", json=[]).get_json() == []


def test_every_wrong_field_is_named_at_once(client: Any, customer: dict[str, Any], journal: Any) -> None:
    wrong = {**customer, "customer_age": 7, "credit_limit": "much", "total_trans_ct": 1.5}

    response = client.post("/predict", json=wrong)

    assert response.status_code == 422
    assert response.content_type == "application/problem+json"
    problem = response.get_json()
    assert problem["type"] == "urn:churnwatch:problem:invalid-fields"
    assert problem["status"] == 422
    assert [error["field"] for error in problem["errors"]] == ["customer_age", "credit_limit", "total_trans_ct"]
    assert problem["errors"][0] == {
        "field": "customer_age",
        "value": 7,
        "expected": "a whole number from 18 to 120 (years)",
        "message": "customer_age=7: expected a whole number from 18 to 120 (years)",
    }
    assert journal.payloads == []


def test_one_wrong_item_refuses_the_list_and_is_named_by_index(
    client: Any, customers: list[dict[str, Any]], journal: Any
) -> None:
    customers[3] = {**customers[3], "customer_age": 7}
    customers[5] = {**customers[5], "customer_age": None}

    problem = client.post("/predict", json=customers).get_json()

    assert [(error["index"], error["field"]) for error in problem["errors"]] == [
        (3, "customer_age"),
        (5, "customer_age"),
    ]
    assert journal.payloads == []


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (b"", 400, "not-json"),
        (b"{", 400, "not-json"),
        (b'{"a":NaN}', 400, "not-json"),
        (b'{"a":1} x', 400, "not-json"),
        (b'{"a":1,"a":2}', 400, "not-json"),
        (b"[" * 9 + b"]" * 9, 400, "not-json"),
        (b"[" * 5000, 400, "not-json"),
        (b'{"a":"\xff"}', 400, "not-json"),
        (b'"text"', 422, "invalid-fields"),
        (b"null", 422, "invalid-fields"),
        (b"[1]", 422, "invalid-fields"),
        (b"{}", 422, "invalid-fields"),
        (b"[" + b"{}," * 100 + b"{}]", 413, "too-large"),
        (b" " * 100_001, 413, "too-large"),
    ],
)
def test_a_body_that_cannot_be_right_is_told_why(client: Any, body: bytes, status: int, kind: str) -> None:
    response = client.post("/predict", data=body, content_type="application/json")

    assert response.status_code == status
    assert response.content_type == "application/problem+json"
    assert response.get_json()["type"] == f"urn:churnwatch:problem:{kind}"
    assert response.get_json()["status"] == status
    assert response.get_json()["detail"]


def test_another_media_type_is_refused(client: Any) -> None:
    response = client.post("/predict", data=b"a=1", content_type="text/plain")

    assert response.status_code == 415
    assert "text/plain" in response.get_json()["detail"]


def test_a_route_that_is_not_there_is_a_problem_too(client: Any) -> None:
    response = client.get("/nowhere")

    assert response.status_code == 404
    assert response.content_type == "application/problem+json"


def test_a_method_that_does_not_fit_names_those_that_do(client: Any) -> None:
    response = client.get("/predict")

    assert response.status_code == 405
    assert response.headers["Allow"] == "OPTIONS, POST"


def test_a_prediction_that_cannot_be_logged_is_not_given(client: Any, journal: Any, customer: dict[str, Any]) -> None:
    journal.full = True

    response = client.post("/predict", json=customer)

    assert response.status_code == 503
    assert response.headers["Retry-After"] == "2"
    assert "churn_probability" not in response.get_json()


def test_a_failure_of_ours_is_a_problem_without_its_inside(
    make_app: Any, customer: dict[str, Any], service: Any
) -> None:
    service.journal = None

    response = make_app().test_client().post("/predict", json=customer)

    assert response.status_code == 500
    assert response.get_json()["type"] == "urn:churnwatch:problem:internal"


def test_answers_and_refusals_are_counted(client: Any, customer: dict[str, Any], sample: Any) -> None:
    client.post("/predict", json=[customer, customer])
    client.post("/predict", json={})

    run = {"route": "http", "model_run_id": "a" * 32}
    assert sample("churnwatch_predictions_total", **run, outcome="answered") == 2
    assert sample("churnwatch_predictions_total", **run, outcome="invalid") == 1
    assert sample("churnwatch_churn_probability_count", **run) == 2
    assert sample("churnwatch_prediction_seconds_count", route="http") == 2


LONG = 100


def long_list(customers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records of one program: the same fields in all, long enough to be read by columns."""
    rows = [{**customers[number % len(customers)], "customer_id": f"c{number}"} for number in range(LONG)]
    assert read_uniform(orjson.dumps(rows)) is not None
    assert len(orjson.dumps(rows)) > LONG_BYTES
    return rows


def test_a_long_list_is_answered_alike_however_it_is_read(
    client: Any, customers: list[dict[str, Any]], journal: Any
) -> None:
    rows = long_list(customers)
    by_columns = client.post("/predict", data=orjson.dumps(rows), content_type="application/json").get_json()
    logged = list(journal.predictions)

    by_records = client.post("/predict", json=[{**rows[0], "more": [1]}, *rows[1:]]).get_json()

    assert by_records[0].pop("ignored") == 1
    by_columns[0].pop("ignored")
    for answer in (*by_columns, *by_records):
        del answer["prediction_id"]
    assert by_columns == by_records
    assert [dict(p.features) for p in logged] == [dict(p.features) for p in journal.predictions[LONG:]]


@pytest.mark.parametrize("more", [{}, {"event_time": "2026-01-31T12:00:00Z"}])
def test_wrong_items_of_a_long_list_are_named_by_index(
    client: Any, customers: list[dict[str, Any]], journal: Any, sample: Any, more: dict[str, Any]
) -> None:
    rows = [row | more for row in long_list(customers)]
    rows[3] |= {"customer_age": 7, "customer_id": True}
    rows[LONG - 1] |= {"gender": 5}

    problem = client.post("/predict", data=orjson.dumps(rows), content_type="application/json").get_json()

    named = [(error["index"], error["field"]) for error in problem["errors"]]
    assert named == [(3, "customer_id"), (3, "customer_age"), (LONG - 1, "gender")]
    assert journal.payloads == []


def test_a_long_list_over_the_limit_is_refused(client: Any, customers: list[dict[str, Any]]) -> None:
    rows = [{"customer_age": customer["customer_age"]} for customer in customers] * 200
    body = orjson.dumps(rows)
    assert LONG_BYTES < len(body) < 100_000

    response = client.post("/predict", data=body, content_type="application/json")

    assert response.status_code == 413
    assert f"a list of {len(rows)} items" in response.get_json()["detail"]
