"""Bytes -> JSON, strictly: no NaN, no trailing rubbish, no key twice, no deep nesting. What passes means one thing.

orjson refuses everything that RFC 8259 does, NaN, Infinity, numbers beyond a double and bytes that are not UTF-8,
but keeps the last of two equal keys and allows a depth of 1,024. Both are ruled out by counting: a flat document
has exactly as many colons as keys, and as many opening brackets as containers. Only where the counts differ (a
colon inside a text, a nested value, a key twice) is the document walked.
"""

from __future__ import annotations

import json
from typing import Any

import orjson

from churn.uniform import read_uniform

LONG_BYTES = 16_384
"""From about 50 records on, a list of records of the same fields is read by columns."""
MAXIMUM_DEPTH = 8
"""Deepest nesting. A list of records is 2 deep; the rest is room for fields that are ignored."""


class NotJson(ValueError):
    """The body is not JSON, or is JSON that two readers could read differently. The sentence says where."""


def parse(body: bytes) -> Any:
    """The document in `body`. Raises NotJson."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise NotJson(str(error)) from None
    if not _is_plain(document, body):
        _refuse_twins_and_depth(body, document)
    return document


def parse_records(body: bytes) -> Any:
    """As `parse`, but a long list of records that all have the same plain fields comes as UniformRecords."""
    uniform = read_uniform(body) if len(body) >= LONG_BYTES else None
    return parse(body) if uniform is None else uniform


def _is_plain(document: Any, body: bytes) -> bool:
    """Whether counts alone prove that the document is flat and holds no key twice."""
    if type(document) is dict:
        return body.count(b":") == len(document) and body.count(b"{") == 1 and b"[" not in body
    if type(document) is not list or body.count(b"[") != 1:
        return False
    keys = 0
    for item in document:
        if type(item) is not dict:
            return False
        keys += len(item)
    return body.count(b":") == keys and body.count(b"{") == len(document)


def _refuse_twins_and_depth(body: bytes, document: Any) -> None:
    if _depth(document) > MAXIMUM_DEPTH:
        raise NotJson(f"nested deeper than {MAXIMUM_DEPTH} levels")
    json.loads(body, object_pairs_hook=_without_twins)


def _depth(document: Any) -> int:
    """How deep containers lie in one another, by levels, so that no recursion can be provoked."""
    depth, level = 0, [document]
    while level := [value for value in level if isinstance(value, dict | list)]:
        depth += 1
        level = [child for value in level for child in (value.values() if isinstance(value, dict) else value)]
    return depth


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        seen: set[str] = set()
        twin = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise NotJson(f"the key '{twin[:60]}' stands there twice in one object")
    return fields
