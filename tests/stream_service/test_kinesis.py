"""Kinesis by its own rules: groups, pages, births, and errors by name."""

from __future__ import annotations

import re
from typing import Any

import pytest
from botocore.exceptions import NoCredentialsError, ReadTimeoutError

from churn.errors import SettingError, StreamMissing, StreamUnavailable
from stream_service.kinesis import PUT_BYTES, IteratorExpired, connect
from stream_service.records import Entry


def test_every_page_of_shards_is_read(world: Any) -> None:
    world.kinesis.ensure("wide", 7)

    assert [shard.shard_id for shard in world.kinesis.shards("wide")] == [f"shardId-{n:012d}" for n in range(7)]


def test_puts_go_in_groups_of_what_one_call_takes(world: Any) -> None:
    calls = world.client.calls
    assert world.kinesis.put("results", [Entry("k", b"x")] * 1001).entries == []
    assert calls["put_records"] == 3

    large = [Entry("k", bytes(PUT_BYTES // 4))] * 4
    assert world.kinesis.put("results", large).entries == []

    assert calls["put_records"] == 5
    assert len(world.client.records("results")) == 1005


def test_only_the_group_that_failed_comes_back(world: Any) -> None:
    entries = [Entry("k", str(number).encode()) for number in range(1200)]
    world.client.fail("put_records", "InternalFailure")

    unsent = world.kinesis.put("results", entries)

    assert unsent.entries == entries[:500]
    assert unsent.cause == "server"


def test_a_stream_that_is_not_there_is_made_only_when_shards_are_given(world: Any) -> None:
    with pytest.raises(StreamMissing):
        world.kinesis.ensure("absent", 0)

    world.kinesis.ensure("absent", 3)

    assert len(world.kinesis.shards("absent")) == 3


def test_a_stream_that_another_worker_made_meanwhile_is_taken_as_it_is(world: Any) -> None:
    world.client.fail("describe_stream_summary", "ResourceNotFoundException")
    world.client.fail("create_stream", "ResourceInUseException")

    world.kinesis.ensure("predictions", 3)

    assert len(world.kinesis.shards("predictions")) == 2


def test_a_stream_made_again_has_another_identity(world: Any) -> None:
    first = world.kinesis.identity("results")
    world.client.delete_stream("results")
    world.clock.advance(1)
    world.kinesis.ensure("results", 2)

    assert world.kinesis.identity("results") != first
    assert re.fullmatch(r"results@\d{10}", first)


@pytest.mark.parametrize(
    ("error", "cause", "words"),
    [
        ("ProvisionedThroughputExceededException", "throttled", "as ordered"),
        ("KMSThrottlingException", "throttled", "as ordered"),
        ("UnrecognizedClientException", "credentials", "as ordered"),
        ("SomethingNew", "server", "SomethingNew: as ordered"),
        ("ResourceNotFoundException", "missing", "as ordered"),
        (NoCredentialsError(), "credentials", "set AWS_ACCESS_KEY_ID"),
        (ReadTimeoutError(endpoint_url="http://kinesis"), "connection", "is AWS_ENDPOINT_URL right"),
    ],
)
def test_an_error_has_a_cause_that_a_metric_may_carry(world: Any, error: Any, cause: str, words: str) -> None:
    if isinstance(error, str):
        world.client.fail("list_shards", error)
    else:
        world.client.faults["list_shards"].append(error)

    with pytest.raises(StreamUnavailable, match=f"list_shards on stream predictions: .*{words}") as caught:
        world.kinesis.shards("predictions")

    assert caught.value.cause == cause


def test_an_expired_iterator_is_told_apart_from_every_outage(world: Any) -> None:
    with pytest.raises(IteratorExpired):
        world.kinesis.read("predictions", "shardId-000000000000", "of yesterday")


def test_a_client_without_a_region_says_which_variable_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")

    with pytest.raises(SettingError, match="AWS_DEFAULT_REGION"):
        connect()
