"""Bytes to predictions or refusals: nothing that a sender writes raises, and a repeat repeats its id."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from churn.bundle import Bundle
from churn.prediction import Prediction, derived_id
from churn.raw_records import RawRecord, Refusal, score_raw
from churn.scoring import COLUMNWISE_FROM, Scorer
from churn.uniform import read_uniform_documents
from tests.fakes import Clock, pseudonym_key, random_customers, records

LONGEST = 10_000


def raw(*payloads: bytes) -> list[RawRecord]:
    return [RawRecord(data, ("record", "s", "shard", str(number))) for number, data in enumerate(payloads)]


@pytest.fixture(scope="module")
def customer(bundle: Bundle) -> dict[str, Any]:
    return records(random_customers(bundle.contract, 1, seed=9), bundle.contract)[0]


@pytest.mark.parametrize(
    ("data", "reason", "words"),
    [
        (b"", "not_json", ""),
        (b"\xff\xfe", "not_json", ""),
        (b'{"a": NaN}', "not_json", ""),
        (b'{"a": 1} trailing', "not_json", ""),
        (b"[" * 5000, "not_json", ""),
        (b'"text"', "not_an_object", "a JSON str"),
        (b"[{}]", "not_an_object", "a JSON list"),
        (b"null", "not_an_object", "a JSON NoneType"),
        (b" " * (LONGEST + 1), "too_large", "10001 bytes: expected at most 10000"),
        (b"{}", "wrong_fields", "customer_age=None: expected a whole number from 18 to 120 (years); it is required"),
        (b'{"event_id": ""}', "wrong_fields", "event_id=''"),
        (b'{"event_time": "noon"}', "wrong_fields", "event_time='noon'"),
    ],
)
def test_what_can_never_succeed_says_why(bundle: Bundle, data: bytes, reason: str, words: str) -> None:
    (outcome,) = score_raw(Scorer(bundle), raw(data), "stream", LONGEST)

    assert isinstance(outcome, Refusal)
    assert outcome.reason == reason
    assert words in outcome.detail


def test_good_records_among_bad_ones_are_answered_in_their_places(bundle: Bundle, customer: dict[str, Any]) -> None:
    good = json.dumps(customer).encode()

    outcomes = score_raw(Scorer(bundle), raw(b"x", good, b"[]", good, b"{}"), "stream", LONGEST)

    assert [type(outcome) for outcome in outcomes] == [Refusal, Prediction, Refusal, Prediction, Refusal]


def test_an_id_comes_from_the_event_else_from_the_place(bundle: Bundle, customer: dict[str, Any]) -> None:
    payloads = [json.dumps(customer | extra).encode() for extra in ({}, {"event_id": "e"}, {"event_id": 5})]

    ids = [outcome.prediction_id for outcome in score_raw(Scorer(bundle), raw(*payloads), "stream", LONGEST)]  # type: ignore[union-attr]

    name = bundle.contract.name
    assert ids == [
        derived_id("record", "s", "shard", "0"),
        derived_id("event", name, "e"),
        derived_id("event", name, "5"),
    ]


def test_a_record_that_breaks_the_model_is_set_aside_and_the_others_pass(
    bundle: Bundle, customer: dict[str, Any]
) -> None:
    class Fragile(Scorer):
        def score(
            self, records: Sequence[Mapping[str, Any]], route: Any, prediction_ids: Sequence[str | None] | None = None
        ) -> list[Any]:
            if any(record["customer_age"] == 66 for record in records):
                raise FloatingPointError("overflow")
            return super().score(records, route, prediction_ids)

    payloads = [json.dumps(customer | {"customer_age": age}).encode() for age in (40, 66, 50)]

    outcomes = score_raw(Fragile(bundle), raw(*payloads), "stream", LONGEST)

    assert outcomes[1] == Refusal("scoring_failed", "FloatingPointError: overflow")
    assert [type(outcome) for outcome in outcomes] == [Prediction, Refusal, Prediction]


def test_many_of_one_producer_are_answered_as_each_alone_is(bundle: Bundle) -> None:
    scorer = Scorer(bundle, key=pseudonym_key, now=Clock())
    customers = records(random_customers(bundle.contract, COLUMNWISE_FROM + 40, seed=9), bundle.contract)
    sent = [one | {"customer_id": f"c{n}", "event_id": n or None} for n, one in enumerate(customers)]
    sent[3] |= {"customer_age": "old"}
    sent[4] |= {"event_id": ""}
    batch = raw(*[orjson.dumps(one) for one in sent])
    assert read_uniform_documents([one.data for one in batch]) is not None

    together = score_raw(scorer, batch, "stream", LONGEST)

    alone = [score_raw(scorer, [one], "stream", LONGEST)[0] for one in batch]
    mixed = score_raw(scorer, [*batch, *raw(b"x")], "stream", LONGEST)
    assert timeless(together) == timeless(alone) == timeless(mixed[:-1])
    assert [type(outcome) for outcome in together[2:6]] == [Prediction, Refusal, Refusal, Prediction]


def test_one_that_is_too_large_is_refused_among_many_alike(bundle: Bundle, customer: dict[str, Any]) -> None:
    sent = [orjson.dumps(customer | {"more": "m" * (LONGEST if n == 70 else 1)}) for n in range(100)]

    outcomes = score_raw(Scorer(bundle), raw(*sent), "stream", LONGEST)

    assert [n for n, outcome in enumerate(outcomes) if isinstance(outcome, Refusal)] == [70]


def timeless(outcomes: Sequence[Prediction | Refusal]) -> list[Any]:
    return [
        msgspec.structs.replace(one, latency_seconds=0.0) if isinstance(one, Prediction) else one for one in outcomes
    ]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=60) | st.text(max_size=40).map(str.encode), max_size=5))
def test_no_bytes_raise(payloads: list[bytes]) -> None:
    scorer = test_no_bytes_raise.scorer  # type: ignore[attr-defined]
    outcomes = score_raw(scorer, raw(*payloads), "stream", LONGEST)

    assert len(outcomes) == len(payloads)
    assert all(isinstance(outcome, (Prediction, Refusal)) for outcome in outcomes)


@pytest.fixture(scope="module", autouse=True)
def _scorer(bundle: Bundle) -> None:
    test_no_bytes_raise.scorer = Scorer(bundle)  # type: ignore[attr-defined]  # hypothesis forbids a function's fixture
