"""A list read by columns is what the strict reader of any JSON makes of it, or is left to that reader."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from churn.uniform import MOST_FIELDS, UniformRecords, read_uniform, read_uniform_documents
from web_service.strict_json import NotJson, parse

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=6),
    st.sampled_from([":", "a:b", "{", "}", "[", "\\", '"', "ü", "\u2028"]),
)
names = st.sampled_from(["a", "b", "c", "a:b", "", "ü", "{", "}", '"', "field_0"])
uniform_lists = st.lists(names, min_size=1, max_size=4, unique=True).flatmap(
    lambda some: st.lists(st.fixed_dictionaries(dict.fromkeys(some, scalars)), min_size=1, max_size=5)
)


def strict(body: bytes) -> Any:
    try:
        return parse(body)
    except NotJson:
        return NotJson


def exactly(items: Any) -> str:
    """1, 1.0 and True differ; the order of fields does not count."""
    return repr([sorted(item.items()) for item in items])


@settings(max_examples=400, deadline=None)
@given(uniform_lists, st.booleans(), st.sampled_from([None, 1]))
def test_what_is_taken_is_what_any_reader_says(
    items: list[dict[str, Any]], ascii_only: bool, indent: int | None
) -> None:
    body = json.dumps(items, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")

    found = read_uniform(body)

    if found is not None:
        assert exactly(found) == exactly(strict(body))
        assert exactly([found[place] for place in range(len(found))]) == exactly(found)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_no_damage_is_read_otherwise_than_by_any_reader(data: st.DataObject) -> None:
    body = bytearray(orjson.dumps(data.draw(uniform_lists.filter(_fits_in_8_bytes))))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(body) - 1))
        stop = place + data.draw(st.integers(0, 2))
        body[place:stop] = data.draw(
            st.sampled_from([b"", b":", b"{", b"}", b"]", b",", b'"', b"1", b"\\", b"\xff", b" "])
        )

    found = read_uniform(bytes(body))

    if found is not None:
        assert exactly(found) == exactly(strict(bytes(body)))


def _fits_in_8_bytes(items: list[dict[str, Any]]) -> bool:
    return all(not isinstance(value, int) or abs(value) < 2**63 for item in items for value in item.values())


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"[{}]", b"{}", b'{"a":1}', b"[1]", b'[{"a":1},{"b":1}]', b'[{"a":1},{"a":1,"b":2}]',
        b'[{"a":[1]}]', b'[{"a":{"b":1}}]', b'[{"a":1}]x', b'[{"a":NaN}]', b'[{"a":"\\u0041"}]', b'[{"a":1},{}]',
        b'x[{"a":1}]', b'[[{"a":1}]]', b'[{"a":9223372036854775808}]', b'[{"a":1e999}]',
        json.dumps([{str(number): 1 for number in range(MOST_FIELDS + 1)}]).encode(),
    ],
)  # fmt: skip
def test_what_is_not_plain_is_left_to_the_reader_of_any(body: bytes) -> None:
    assert read_uniform(body) is None


@pytest.mark.parametrize(
    "body",
    [
        b'[{"a":1,"a":2}]',
        b'[{"a":1,"b":2},{"a":1,"b":2,"a" :3}]',
        b'[{"a":1,"b":":"},{"a":1,"b":"::","a":3}]',
        b'[{"a:b":1},{"a:b":2,"a:b":2}]',
    ],
)
def test_a_name_that_stands_twice_is_never_overlooked(body: bytes) -> None:
    assert read_uniform(body) is None
    assert strict(body) is NotJson


@pytest.mark.parametrize(
    "body", [b'[{"a":"12:30"},{"a":"1"}]', b'[{"a:b":1},{"a:b":":"}]', b' [ {"a" : 1}\n,{"a":2.0 }] ']
)
def test_colons_and_spaces_are_no_hindrance(body: bytes) -> None:
    found = read_uniform(body)

    assert found is not None
    assert list(found) == strict(body)


def test_records_are_reached_by_place_slice_and_column() -> None:
    found = read_uniform(b'[{"a":1,"b":"x"},{"a":2,"b":"y"},{"a":3,"b":"z"}]')

    assert isinstance(found, UniformRecords)
    assert (len(found), found.names) == (3, ("a", "b"))
    assert found[-1] == {"a": 3, "b": "z"}
    assert list(found[1:9]) == [{"a": 2, "b": "y"}, {"a": 3, "b": "z"}]
    assert len(found[3:]) == 0
    assert list(found.column("b")) == ["x", "y", "z"]
    assert list(found[:2].column("absent")) == [None, None]
    with pytest.raises(IndexError):
        found[3]


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_documents_are_read_as_each_alone_would_be(data: st.DataObject) -> None:
    documents = [orjson.dumps(item) for item in data.draw(uniform_lists.filter(_fits_in_8_bytes))]
    for _ in range(data.draw(st.integers(0, 2))):
        place = data.draw(st.integers(0, len(documents) - 1))
        more = data.draw(st.sampled_from([b"", b" ", b",", b'"', b"{", b"}", b'},{"a":1', b',{"a":1}', b'"}']))
        documents[place] = data.draw(st.sampled_from([documents[place] + more, more + documents[place], more]))

    found = read_uniform_documents(documents)

    if found is not None:
        assert exactly(found) == exactly([orjson.loads(document) for document in documents])


@pytest.mark.parametrize(
    "documents",
    [
        [b'{"a":1},{"a":"', b'"}'],
        [b'{"a":1},{"a":"{}', b'{"}'],
        [b'{"a":1},{"a":2}', b""],
        [b'{"a":1', b'"b":2}'],
        [b'{"a":1}', b'{"a":2},'],
        [b'{"a":1}', b' {"a":2}'],
        [],
    ],
)
def test_no_document_is_made_of_two_nor_two_of_one(documents: list[bytes]) -> None:
    assert read_uniform_documents(documents) is None


def test_documents_of_the_same_fields_are_taken() -> None:
    found = read_uniform_documents([b'{"a":1}', b'{"a":"12:30"} ', b'{ "a" : null}\n'])

    assert found is not None
    assert list(found) == [{"a": 1}, {"a": "12:30"}, {"a": None}]
