"""Records that the Kinesis Producer Library packed into one: recognised by their first bytes, unpacked, verified.

The format (awslabs/amazon-kinesis-producer, aggregation-format.md): 4 magic bytes, a protobuf message, its MD5.

    message AggregatedRecord { repeated string partition_key_table = 1; repeated string explicit_hash_key_table = 2;
                               repeated Record records = 3; }
    message Record           { required uint64 partition_key_index = 1; optional uint64 explicit_hash_key_index = 2;
                               required bytes data = 3; repeated Tag tags = 4; }
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

MAGIC = b"\xf3\x89\x9a\xc2"
DIGEST_BYTES = 16
LONGEST_KEY = 256
VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5


class BadAggregate(Exception):
    """The magic bytes are there, the rest is not what they announce."""


class UserRecord(NamedTuple):
    partition_key: str
    data: bytes


def is_aggregated(data: bytes) -> bool:
    return data.startswith(MAGIC)


def unpack(data: bytes) -> list[UserRecord]:
    """The user records within, in their order. Raises BadAggregate."""
    message = data[len(MAGIC) : -DIGEST_BYTES]
    digest = hashlib.md5(message, usedforsecurity=False).digest()
    if len(data) < len(MAGIC) + DIGEST_BYTES or digest != data[-DIGEST_BYTES:]:
        raise BadAggregate("its MD5 digest does not fit")
    keys: list[str] = []
    packed: list[bytes] = []
    for number, value in _fields(message):
        if number == 1 and isinstance(value, bytes):
            keys.append(value.decode("utf-8", "replace"))
        elif number == 3 and isinstance(value, bytes):
            packed.append(value)
    if not packed:
        raise BadAggregate("it holds no records")  # else it would vanish: neither answered nor set aside
    return [_user_record(record, keys) for record in packed]


def _user_record(record: bytes, keys: list[str]) -> UserRecord:
    index, payload = 0, b""
    for number, value in _fields(record):
        if number == 1 and isinstance(value, int):
            index = value
        elif number == 3 and isinstance(value, bytes):
            payload = value
    if index >= len(keys):
        raise BadAggregate(f"partition key {index} of {len(keys)} is asked for")
    if not 0 < len(keys[index]) <= LONGEST_KEY:
        raise BadAggregate(f"a partition key of {len(keys[index])} characters")  # no stream would take its result
    return UserRecord(keys[index], payload)


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, value) of a protobuf message; values are whole numbers or bytes."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == VARINT:
            number, at = _varint(message, at)
            yield tag >> 3, number
            continue
        if kind == LENGTH_DELIMITED:
            length, at = _varint(message, at)
        elif kind in (FIXED64, FIXED32):
            length = 8 if kind == FIXED64 else 4
        else:
            raise BadAggregate(f"wire type {kind} at byte {at}")
        if at + length > len(message):
            raise BadAggregate(f"a field ends {at + length - len(message)} bytes after the message")
        yield tag >> 3, message[at : at + length]
        at += length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise BadAggregate("it ends within a number")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise BadAggregate(f"a number before byte {at} has no end")
