"""The two routes tell what is true now, by the clock."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from churn.errors import SettingError
from churn.metrics import StreamMetrics
from stream_service.health import Health, serve
from tests.fakes import Clock


class Board:
    """A health board on a real socket, with clocks to turn."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.seconds = 0.0
        registry = CollectorRegistry()
        self.health = Health(StreamMetrics(registry), 300.0, self.clock, lambda: self.seconds)
        self.server = serve(self.health, registry, "127.0.0.1", 0)

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.server.server_port}{path}") as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.seconds += seconds


@pytest.fixture
def board() -> Iterator[Board]:
    made = Board()
    yield made
    made.server.shutdown()
    made.server.server_close()


def health(board: Board) -> tuple[int, dict[str, Any]]:
    status, body = board.get("/health")
    return status, json.loads(body)


def test_a_new_service_is_healthy_and_says_so(board: Board) -> None:
    assert health(board) == (200, {"status": "ok", "trouble": "", "shards": {}})


def test_records_that_wait_unmoved_turn_it_red_and_moving_turns_it_green(board: Board) -> None:
    shard = board.health.open_shard("shard-1")
    shard.waits(board.clock())
    board.advance(299)
    board.health.balanced()
    assert health(board)[0] == 200

    board.advance(1)

    assert health(board) == (
        503,
        {"status": "stuck", "trouble": "", "shards": {"shard-1": {"lag_seconds": 300.0, "stuck": True}}},
    )
    assert 'churnwatch_stream_lag_seconds{shard="shard-1"} 300.0' in board.get("/metrics")[1]
    shard.moved()
    assert health(board)[0] == 200


def test_an_idle_shard_is_never_stuck(board: Board) -> None:
    shard = board.health.open_shard("shard-1")
    shard.waits(None)
    board.advance(10_000)
    board.health.balanced()

    assert health(board)[1]["shards"] == {"shard-1": {"lag_seconds": 0.0, "stuck": False}}


def test_leases_that_nobody_looks_after_turn_it_red_with_the_reason(board: Board) -> None:
    board.advance(300)
    board.health.balanced(trouble="the store is away")

    status, document = health(board)

    assert status == 503
    assert document["trouble"] == "the store is away"


def test_a_shard_given_up_leaves_no_gauge_behind(board: Board) -> None:
    board.health.open_shard("shard-1").waits(board.clock())
    assert 'shard="shard-1"' in board.get("/metrics")[1]

    board.health.close_shard("shard-1")

    assert 'shard="shard-1"' not in board.get("/metrics")[1]


def test_other_paths_are_named(board: Board) -> None:
    assert board.get("/nothing") == (404, '{"detail":"routes here: /health, /metrics"}')


def test_a_port_in_use_is_one_clear_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        registry = CollectorRegistry()
        with pytest.raises(SettingError, match=f"STREAM_METRICS_PORT={port}: expected a free port on 127.0.0.1"):
            serve(Health(StreamMetrics(registry), 300.0), registry, "127.0.0.1", port)
