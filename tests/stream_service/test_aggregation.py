"""What the Kinesis Producer Library packs is unpacked exactly; what only looks like it is refused."""

from __future__ import annotations

import hashlib

import pytest

from stream_service.aggregation import MAGIC, BadAggregate, UserRecord, is_aggregated, unpack


def varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def packed(message: bytes) -> bytes:
    return MAGIC + message + hashlib.md5(message, usedforsecurity=False).digest()


def aggregate(records: list[tuple[str, bytes]]) -> bytes:
    keys = sorted({key for key, _ in records})
    message = b"".join(field(1, key.encode()) for key in keys) + field(2, b"12345")
    for key, data in records:
        message += field(3, field(1, keys.index(key)) + field(2, 0) + field(3, data) + field(4, field(1, b"tag")))
    return packed(message)


def test_user_records_come_out_in_order_with_their_own_keys() -> None:
    records = [("b", b"first"), ("a", b""), ("b", b"x" * 70_000), ("ü", b"last")]

    assert unpack(aggregate(records)) == [UserRecord(key, data) for key, data in records]


def test_plain_json_is_not_taken_for_an_aggregate() -> None:
    assert not is_aggregated(b'{"customer_age": 40}')
    assert not is_aggregated(b"")
    assert is_aggregated(aggregate([]))


def test_unknown_fixed_width_fields_are_passed_over() -> None:
    message = field(1, b"k") + bytes([9 << 3 | 1]) + b"8 bytes!" + bytes([10 << 3 | 5]) + b"four"
    message += field(3, field(1, 0) + field(3, b"data"))

    assert unpack(packed(message)) == [UserRecord("k", b"data")]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (MAGIC, "MD5"),
        (MAGIC + b"rubbish, and long enough for a digest", "MD5"),
        (aggregate([("a", b"data")])[:-1] + b"?", "MD5"),
        (aggregate([]), "holds no records"),
        (packed(field(1, b"k")), "holds no records"),
        (packed(field(3, field(1, 4) + field(3, b"data"))), "partition key 4 of 0"),
        (aggregate([("", b"data")]), "a partition key of 0 characters"),
        (aggregate([("k" * 257, b"data")]), "a partition key of 257 characters"),
        (packed(b"\x0a\x7fshort"), "122 bytes after"),
        (packed(b"\x0b"), "wire type 3"),
        (packed(b"\x0a\x80"), "ends within a number"),
        (packed(b"\x08" + b"\xff" * 11), "no end"),
    ],
)
def test_what_is_not_what_its_first_bytes_announce_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(BadAggregate, match=reason):
        unpack(data)
