"""Doors that the senders knock at: a small HTTP service on a real socket, and Kinesis streams in memory."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pandas as pd
import pytest
from botocore.exceptions import ClientError

from churn.contract import Contract
from simulation.customers import Customer, draw_customers
from simulation.draw import draw_population
from simulation.population import load_population

Answer = tuple[int, Any, dict[str, str]]


class Door:
    """An HTTP service that remembers what came and answers by a plan: one entry a request, then 200 for ever.

    An entry is (status, body, headers), or None to cut the connection after the request was read.
    """

    def __init__(self) -> None:
        self.plan: list[Answer | None] = []
        self.requests: list[tuple[str, Any, dict[str, str]]] = []
        self.predicted: Counter[str] = Counter()
        self.lock = threading.Lock()
        door = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                answer = door.answer(self.path, body, dict(self.headers))
                if answer is None:
                    self.close_connection = True
                    return
                status, document, headers = answer
                payload = json.dumps(document).encode()
                self.send_response(status)
                for name, value in {"Content-Length": str(len(payload)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(payload)

            def log_message(self, *arguments: Any) -> None:
                """Not on the terminal."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, path: str, body: Any, headers: dict[str, str]) -> Answer | None:
        with self.lock:
            self.requests.append((path, body, headers))
            records = body if isinstance(body, list) else [body]
            planned = self.plan.pop(0) if self.plan else (200, None, {})
            if planned is None or planned[1] is not None or planned[0] != 200:
                return planned
            if path == "/feedback":
                return 200, {"matched": len(records), "changed": 0, "unknown": 0}, {}
            self.predicted.update(record.get("event_id") for record in records)
            answers = [{"prediction_id": f"p-{record.get('event_id')}"} for record in records]
            return 200, answers if isinstance(body, list) else answers[0], {}


@pytest.fixture
def door() -> Iterator[Door]:
    door = Door()
    thread = threading.Thread(target=door.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield door
    door.server.shutdown()
    door.server.server_close()
    thread.join()


class MemoryKinesis:
    """Streams in memory, as boto3's client shows them. Faults are planned per call."""

    def __init__(self, *streams: str, shards: int = 2) -> None:
        self.records: dict[str, list[list[bytes]]] = {stream: [[] for _ in range(shards)] for stream in streams}
        self.put_faults: list[Callable[[list[dict[str, Any]]], dict[str, Any]]] = []
        self.read_faults: list[str] = []
        self.calls: Counter[str] = Counter()
        self.closed: set[str] = set()

    def put_records(self, StreamName: str, Records: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803 (boto3's)
        self.calls["put"] += 1
        shards = self._stream(StreamName)
        if self.put_faults:
            return self.put_faults.pop(0)(Records)
        for record in Records:
            shards[sum(record["PartitionKey"].encode()) % len(shards)].append(record["Data"])
        return {"Records": [{"SequenceNumber": "1"} for _ in Records]}

    def list_shards(self, StreamName: str = "", NextToken: str = "") -> dict[str, Any]:  # noqa: N803
        if NextToken:
            stream, number = NextToken.split("|")
        else:
            stream, number = StreamName, "0"
        count = len(self._stream(stream))
        page: dict[str, Any] = {"Shards": [{"ShardId": f"shard-{number}"}]}
        return {**page, "NextToken": f"{stream}|{int(number) + 1}"} if int(number) + 1 < count else page

    def get_shard_iterator(
        self,
        StreamName: str,  # noqa: N803
        ShardId: str,  # noqa: N803
        ShardIteratorType: str,  # noqa: N803
        StartingSequenceNumber: str = "-1",  # noqa: N803
        Timestamp: Any = None,  # noqa: N803
    ) -> dict[str, Any]:
        self.calls[ShardIteratorType] += 1
        return {"ShardIterator": f"{StreamName}|{ShardId}|{int(StartingSequenceNumber) + 1}"}

    def get_records(self, ShardIterator: str, Limit: int) -> dict[str, Any]:  # noqa: N803
        self.calls["get"] += 1
        if self.read_faults:
            raise failure(self.read_faults.pop(0))
        stream, shard_id, position = ShardIterator.split("|")
        shard = self._stream(stream)[int(shard_id.removeprefix("shard-"))]
        records = [
            {"SequenceNumber": str(number), "Data": data}
            for number, data in enumerate(shard)
            if number >= int(position)
        ]
        if shard_id in self.closed:
            return {"Records": records}
        return {"Records": records, "NextShardIterator": f"{stream}|{shard_id}|{len(shard)}"}

    def _stream(self, name: str) -> list[list[bytes]]:
        if name not in self.records:
            raise failure("ResourceNotFoundException")
        return self.records[name]


def failure(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": f"{code} for a test"}}, "Operation")


@pytest.fixture
def memory_kinesis() -> MemoryKinesis:
    return MemoryKinesis("predictions", "results")


@pytest.fixture
def aws_failure() -> Callable[[str], ClientError]:
    return failure


@pytest.fixture(scope="session")
def simulated(credit_card: Contract) -> pd.DataFrame:
    return draw_population(load_population(credit_card), 200, seed=5)


@pytest.fixture(scope="session")
def twenty(credit_card: Contract, simulated: pd.DataFrame) -> list[Customer]:
    return draw_customers(simulated, credit_card, 20, seed=5)
