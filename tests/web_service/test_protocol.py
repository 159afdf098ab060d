"""Connections: however its bytes arrive, a request is answered once and in order, and nobody holds one for ever."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from churn.metrics import WebMetrics
from tests.web_service.connection import Answer, Door, post, request
from web_service import protocol


@pytest.fixture
def door(service: Any, make_app: Any) -> Iterator[Door]:
    door = Door(service, make_app(), WebMetrics(CollectorRegistry()))
    yield door
    door.threads.shutdown()


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


@pytest.fixture
def plain(customer: dict[str, Any]) -> bytes:
    return post(json.dumps(customer).encode())


def test_requests_sent_at_once_are_answered_in_order(door: Door, customer: dict[str, Any]) -> None:
    """Plain ones, one for Flask, one that is refused, another plain one: all in one packet."""
    bodies = [{**customer, "customer_id": str(number)} for number in range(3)]
    first, second, third = (post(json.dumps(body).encode()) for body in bodies)
    packet = first + request("GET", "/ready") + second + post(b"{") + third

    async def asked() -> list[Answer]:
        connection = door.connect()
        return [await connection.ask(packet), *[await connection.answer() for _ in range(4)]]

    answers = run(asked())

    assert [answer.status for answer in answers] == [200, 200, 200, 400, 200]
    documents = [json.loads(answer.payload) for answer in answers]
    assert documents[1] == {"ready": True}
    assert len({documents[number]["customer_id"] for number in (0, 2, 4)}) == 3


@pytest.mark.parametrize("seed", range(20))
def test_packets_may_break_anywhere(door: Door, plain: bytes, journal: Any, seed: int) -> None:
    draw = random.Random(seed)
    stream = (plain + request("GET", "/health") + plain) * 3
    cuts = sorted(draw.sample(range(1, len(stream)), 12))
    parts = [stream[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    async def asked() -> list[int]:
        connection = door.connect()
        for part in parts:
            connection.protocol.data_received(part)
            if draw.random() < 0.5:
                await asyncio.sleep(0)
        return [(await connection.answer()).status for _ in range(9)]

    assert run(asked()) == [200] * 9
    assert len(journal.payloads) == 6


def test_a_client_that_sends_ahead_without_end_is_made_to_wait(door: Door, plain: bytes) -> None:
    async def asked() -> tuple[bool, list[int]]:
        connection = door.connect()
        many = protocol.HELD_LIMIT // len(plain) + 2
        connection.protocol.data_received(plain)
        connection.protocol.data_received(plain * many)
        paused = connection.wire.paused
        return paused, [(await connection.answer()).status for _ in range(many + 1)]

    paused, statuses = run(asked())

    assert paused
    assert set(statuses) == {200}


def test_a_head_without_end_is_refused(door: Door) -> None:
    async def asked() -> Any:
        connection = door.connect()
        connection.protocol.data_received(b"GET / HTTP/1.1\r\n")
        for _ in range(20):
            if not connection.wire.closed:
                connection.protocol.data_received(b"x-pad: " + b"x" * 8_000 + b"\r\n")
        return connection

    connection = run(asked())

    assert connection.wire.closed
    assert connection.wire.written.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("sent", [b"", b"POST /predict HT", "half a body"])
def test_a_connection_on_which_nothing_comes_is_closed(
    door: Door, plain: bytes, monkeypatch: Any, sent: bytes | str
) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.03)
    monkeypatch.setattr(protocol, "IDLE_SECONDS", 0.05)

    async def asked() -> float:
        connection = door.connect()
        started = asyncio.get_running_loop().time()
        if sent:
            connection.protocol.data_received(plain[:-5] if isinstance(sent, str) else sent)
        while not connection.wire.closed and asyncio.get_running_loop().time() < started + 5:
            await asyncio.sleep(0.005)
        return asyncio.get_running_loop().time() - started

    assert run(asked()) < 1.0


def test_a_connection_in_use_is_kept(door: Door, plain: bytes, monkeypatch: Any) -> None:
    """Longer than it may idle, by plain predictions after an answer of Flask's: uvicorn sees only that one."""
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.8)
    monkeypatch.setattr(protocol, "IDLE_SECONDS", 0.8)

    async def asked() -> bool:
        connection = door.connect()
        await connection.ask(request("GET", "/ready"))
        for _ in range(8):
            await connection.ask(plain)
            await asyncio.sleep(0.2)
        return connection.wire.closed

    assert not run(asked())


def test_a_service_that_ends_gives_the_answer_it_has_begun_and_closes(door: Door, plain: bytes) -> None:
    async def asked() -> tuple[Answer, bool, bool]:
        connection, idle = door.connect(), door.connect()
        connection.protocol.data_received(plain)
        for one in (connection, idle):
            one.protocol.shutdown()
        return await connection.answer(), connection.wire.closed, idle.wire.closed

    answered, closed, idle_closed = run(asked())

    assert answered.status == 200
    assert answered.headers["connection"] == "close"
    assert closed
    assert idle_closed


def test_a_client_that_leaves_takes_nothing_with_it(door: Door, plain: bytes, journal: Any) -> None:
    """Its prediction was made and is logged; the others of its group are answered."""

    async def asked() -> Answer:
        gone, stays = door.connect(), door.connect()
        gone.protocol.data_received(plain)
        stays.protocol.data_received(plain)
        gone.wire.close()
        gone.protocol.connection_lost(None)
        return await stays.answer()

    assert run(asked()).status == 200
    assert len(journal.payloads) == 2
