"""Dead letters keep their bytes, are listed once, go back once, and are limited in share."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from churn.errors import StreamUnavailable, TooManyDeadLetters
from churn.raw_records import Refusal
from stream_service import commands
from stream_service.dead_letters import DeadLetterLimit, Origin, collect, letters
from stream_service.records import StreamRecord

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
ORIGIN = Origin("predictions", "credit_card", "abc", "run-1")


def record(data: bytes, sequence: str = "7", sub_sequence: int | None = None) -> StreamRecord:
    return StreamRecord("shard-0", sequence, "key", data, NOW, sub_sequence)


def written(data: bytes, sequence: str = "7") -> list[StreamRecord]:
    """A letter as the dead-letter stream would give it back."""
    entries = letters(ORIGIN, record(data, sequence), Refusal("not_json", "what was wrong"), NOW)
    assert all(len(entry.data) < 1 << 20 for entry in entries)
    return [record(entry.data, sequence) for entry in entries]


def test_a_letter_says_what_where_why_and_how_to_replay() -> None:
    (entry,) = letters(ORIGIN, record(b"rubbish", sub_sequence=3), Refusal("not_json", "what was wrong"), NOW)
    document = json.loads(entry.data)

    assert document["reason"] == "not_json"
    assert (document["shard_id"], document["sequence_number"], document["sub_sequence"]) == ("shard-0", "7", 3)
    assert (document["contract"], document["contract_hash"], document["model_run_id"]) == (
        "credit_card",
        "abc",
        "run-1",
    )
    assert document["replay"].endswith(f"dead-letters replay --id {document['dead_letter_id']}")
    assert entry.partition_key == "key"


@pytest.mark.parametrize("data", [b"", b"rubbish", bytes(range(256)) * 4096])
def test_bytes_come_back_as_they_were_however_long(data: bytes) -> None:
    (letter,) = collect(written(data))

    assert letter.data == data
    assert letter.document["bytes"] == len(data)


def test_a_letter_delivered_twice_is_one_letter() -> None:
    long = bytes(1_200_000)
    stream = written(b"a", "1") + written(long, "2")[:2] + written(b"a", "1") + written(long, "2") + written(b"a", "3")

    assert [letter.document["sequence_number"] for letter in collect(stream)] == ["1", "2", "3"]


def test_what_is_no_letter_is_passed_over() -> None:
    assert list(collect([record(b"rubbish"), record(b"[]"), record(b'{"dead_letter_id": "x"}')])) == []


def test_the_limit_counts_the_newest_records_only() -> None:
    limit = DeadLetterLimit(share=0.5, window=10)
    limit.admit([True] * 5)
    limit.admit([False] * 5)
    limit.admit([True] * 5)

    with pytest.raises(TooManyDeadLetters, match="6 of the last 10 records"):
        limit.admit([False] * 4 + [True] * 6)


def test_a_burst_within_one_batch_counts_though_the_batch_ends_well() -> None:
    with pytest.raises(TooManyDeadLetters):
        DeadLetterLimit(share=0.5, window=10).admit([False] * 20 + [True] * 6 + [False] * 20)


def test_a_share_of_one_lets_everything_pass() -> None:
    DeadLetterLimit(share=1.0, window=10).admit([True] * 100)


def set_aside(world: Any) -> list[dict[str, Any]]:
    """Two good records, and four of four kinds of bad, over both shards."""
    world.send(2)
    for number, data in enumerate((b"\xff", b"[]", b"{}", b'{"x":"' + b"y" * 300_000 + b'"}')):
        world.client.put("predictions", f"bad-{number}", data)
    for number in (0, 1):
        world.step(world.worker(number))
    return world.dead_letters()  # type: ignore[no-any-return]


def test_each_kind_of_bad_record_is_set_aside_with_its_reason(world: Any) -> None:
    found = set_aside(world)

    assert sorted(letter["reason"] for letter in found) == ["not_an_object", "not_json", "too_large", "wrong_fields"]
    assert {letter["model_run_id"] for letter in found} == {world.bundle.run_id}
    assert world.sample("dead_letters_total", reason="not_json") == 1
    assert world.store.count() == 2


def test_letters_are_listed_by_reason_and_replayed_once(world: Any) -> None:
    set_aside(world)
    found = list(commands.dead_letters(world.kinesis, "dead-letters", "wrong_fields", None))
    before = len(world.client.records("predictions"))

    counts = [
        commands.replay_dead_letters(world.kinesis, world.store, found, again, NOW) for again in (False, False, True)
    ]

    assert [letter.data for letter in found] == [b"{}"]
    assert counts == [1, 0, 1]
    assert world.client.records("predictions").count(b"{}") == 3
    assert len(world.client.records("predictions")) == before + 2


def test_a_letter_that_could_not_be_put_back_is_not_noted_as_replayed(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_aside(world)
    found = list(commands.dead_letters(world.kinesis, "dead-letters", "not_json", None))
    monkeypatch.setattr(commands.time, "sleep", lambda _: None)
    monkeypatch.setattr(commands, "PUT_TRIES", 1)
    world.client.fail("put_records", "InternalFailure")

    with pytest.raises(StreamUnavailable, match="InternalFailure"):
        commands.replay_dead_letters(world.kinesis, world.store, found, False, NOW)

    assert commands.replay_dead_letters(world.kinesis, world.store, found, False, NOW) == 1
