"""Bytes that almost were right: an input changed a little or a lot, the same for the same random numbers."""

from __future__ import annotations

import json
from random import Random
from typing import Any

LARGEST = 200_000
TOKENS = (
    b"[", b"]", b"{", b"}", b'"', b",", b":", b"=", b"\n", b"\r\n", b"\0", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf",
    b"NaN", b"Infinity", b"-0", b"1e999", b"9" * 400, b"null", b"true", b"\\u0000", b"\\ud800", b"../../", b"%00",
    b"<script>", b"'",
    b"[" * 100_000, b"a." * 5_000, b"[[", b"]]", b"#", b"inf", b"1_000", b"2026-99-99", b"\xf0\x9f\x98\x80", b" " * 300,
)  # fmt: skip
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, -0.0, 1e308, 2**53 + 1, 2**63, 10**25, -(10**400), "", " ", "\0", "x" * 500,
    "\ud800", "Unknown", "../../etc/passwd", "<img src=x onerror=1>", "NaN", "2026-01-31T12:00:00Z",
    "9999-12-31T23:59:59-23:59", [], {}, [[[]]], [None], {"": None}, {"a": {"b": [1]}}, [0] * 50,
    float("nan"), float("inf"),
)  # fmt: skip


def mutate(seed: bytes, random: Random, others: list[bytes]) -> bytes:
    """One of `seed`'s neighbours. A document of JSON is changed as such half of the time."""
    if random.random() < 0.5:
        try:
            document = json.loads(seed)
        except (ValueError, RecursionError):
            pass
        else:
            for _ in range(random.choice((1, 1, 2, 4))):
                document = change(document, random)
            return json.dumps(document, ensure_ascii=random.random() < 0.9).encode("utf-8", "surrogatepass")
    content = bytearray(seed)
    for _ in range(random.choice((1, 1, 1, 2, 5, 20))):
        content = _damage(content, random, others)
    return bytes(content[:LARGEST])


def change(document: Any, random: Random) -> Any:
    """The document with something of it replaced, removed, doubled or wrapped."""
    if isinstance(document, dict) and document and random.random() < 0.85:
        key = random.choice(list(document))
        what = random.random()
        if what < 0.12:
            return {name: value for name, value in document.items() if name != key}
        if what < 0.2:
            return {**document, random.choice(("", "x" * 300, "\0", "data", "<b>", key + " ")): random.choice(ODD)}
        return {**document, key: change(document[key], random)}
    if isinstance(document, list) and document and random.random() < 0.85:
        at = random.randrange(len(document))
        what = random.random()
        if what < 0.1:
            return document[:at] + document[at + 1 :]
        if what < 0.2:
            return document + document[at : at + 1] * random.choice((1, 3, 200))
        return [*document[:at], change(document[at], random), *document[at + 1 :]]
    if random.random() < 0.1:
        return [document] if random.random() < 0.5 else {"x": document}
    if isinstance(document, int | float) and not isinstance(document, bool) and random.random() < 0.4:
        return random.choice((-document, document + 1, document * 1_000_003, document * 0))
    return random.choice(ODD)


def _damage(content: bytearray, random: Random, others: list[bytes]) -> bytearray:
    place = random.randrange(len(content) + 1)
    what = random.randrange(7)
    if what == 0:
        del content[place : place + random.choice((1, 2, 8, 100))]
    elif what == 1:
        content[place:place] = random.choice(TOKENS)
    elif what == 2 and place < len(content):
        content[place] ^= 1 << random.randrange(8)
    elif what == 3:
        content[place:place] = content[place : place + random.choice((4, 64, 1_000))]
    elif what == 4:
        content = content[:place]
    elif what == 5:
        other = random.choice(others)
        at = random.randrange(len(other) + 1)
        content[place : place + 64] = other[at : at + random.choice((8, 64, 512))]
    elif content:
        token = random.choice(TOKENS)
        content[place : place + len(token)] = token
    return content
