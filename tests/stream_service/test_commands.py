"""What an operator asks beside the running service: nothing of it touches a checkpoint."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from churn.errors import SettingError, StreamUnavailable
from stream_service import cli, commands
from stream_service.records import Entry
from stream_service.service import consumer_key

FIRST, SECOND = "shardId-000000000000", "shardId-000000000001"


def status(world: Any) -> dict[str, dict[str, Any]]:
    consumer = consumer_key(world.kinesis, world.settings)
    rows = commands.status(world.kinesis, world.store, "predictions", consumer, world.clock())
    return {row["shard"]: row for row in rows}


def test_status_tells_owner_lag_and_checkpoint_of_every_shard(world: Any) -> None:
    world.send(50)
    world.step(world.worker(0, owner="worker-1"))
    world.clock.advance(15)

    rows = status(world)

    assert rows[FIRST]["owner"] == "worker-1"
    assert rows[FIRST]["lag_seconds"] == 0
    assert rows[FIRST]["checkpointed_at"] == world.clock() - timedelta(seconds=15)
    assert (rows[SECOND]["owner"], rows[SECOND]["checkpointed_at"], rows[SECOND]["lag_seconds"]) == (None, None, 15)


def test_an_owner_whose_lease_expired_is_no_owner(world: Any) -> None:
    world.worker(0)
    world.clock.advance(21)

    assert status(world)[FIRST]["owner"] is None


def test_a_shard_read_to_its_end_is_finished_and_a_split_one_closed(world: Any) -> None:
    world.send(20)
    world.client.split("predictions", FIRST)
    assert status(world)[FIRST]["state"] == "closed"

    world.step(world.worker(0), times=2)

    assert status(world)[FIRST]["state"] == "finished"
    assert status(world)[SECOND]["state"] == "open"


def test_a_span_holds_what_arrived_from_its_start_to_before_its_end(world: Any) -> None:
    start = world.clock()
    for number in range(6):
        world.send(1, first=number)
        world.clock.advance(10)

    batches = commands.span(world.kinesis, "predictions", start + timedelta(seconds=10), start + timedelta(seconds=40))

    arrived = sorted((record.arrived_at - start).total_seconds() for batch in batches for record in batch)
    assert arrived == [10, 20, 30]


def test_a_span_carried_again_repeats_its_predictions_and_moves_no_checkpoint(world: Any) -> None:
    world.send(30)
    for number in (0, 1):
        world.step(world.worker(number))
    before = {name: row["sequence_number"] for name, row in status(world).items()}
    first = world.results()
    end = world.clock() + timedelta(seconds=1)
    world.clock.advance(3600)

    spans = commands.span(world.kinesis, "predictions", world.clock() - timedelta(hours=2), end)
    tally = commands.carry_span(world.settings, world.parts, spans)

    assert tally == {"records": 30}
    assert world.store.count() == 30
    assert sorted(map(str, world.results())) == sorted(map(str, first + first))
    assert {name: row["sequence_number"] for name, row in status(world).items()} == before


def test_a_put_that_is_refused_again_and_again_says_why(world: Any) -> None:
    world.client.fail("put_records", "AccessDeniedException", times=20)
    waits: list[float] = []

    with pytest.raises(StreamUnavailable, match="AccessDeniedException") as caught:
        commands.put(world.kinesis, "predictions", [Entry("k", b"x")], waits.append)

    assert caught.value.cause == "credentials"
    assert waits == [0.1 * 2**attempt for attempt in range(commands.PUT_TRIES)]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--from", "2026-01-31T12:00:00Z"],
        ["--dry-run"],
        ["--from", "2026-01-31T12:00:00Z", "--to", "2026-01-31T12:00:00Z"],
    ],
)
def test_a_span_needs_two_times_in_order(arguments: list[str]) -> None:
    with pytest.raises(SettingError, match="two times, the first before the second"):
        cli.main(arguments)


def test_a_time_that_is_none_is_refused_by_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--from", "noon", "--to", "2026-01-31"])

    assert "'noon': expected a time such as 2026-01-31T12:00:00Z" in capsys.readouterr().err
