"""A proxy in front of a Kinesis emulator that is as strict and as faulty as AWS on a bad day.

Emulators do not throttle. This enforces five reads and 2 MB a second and shard out, 1,000 records and 1 MB a second and
shard in, refuses single entries of a PutRecords, answers late or 500, cuts connections before or after the call was
carried out, lets iterators expire, and can take a stream away for a while.
"""

from __future__ import annotations

import base64
import http.client
import json
import threading
import time
from collections import Counter, defaultdict, deque
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import Any
from urllib.parse import urlsplit

READS_A_SECOND = 5
RECORDS_A_SECOND = 1_000
BYTES_A_SECOND_OUT = 2_000_000
BYTES_A_SECOND_IN = 1_000_000
LONGEST_DELAY_SECONDS = 1.0


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed in the middle of a call is what this is for."""


class KinesisProxy:
    """Listens on a free port of loopback until `close`. Rates are chances a call; change them while it runs.

    `asked` holds when each shard (STREAM/SHARD) was asked for records, refused or not.
    """

    def __init__(self, upstream: str, seed: int) -> None:
        self.upstream = urlsplit(upstream)
        self.random = Random(seed)
        self.lock = threading.Lock()
        self.server_errors = 0.0
        self.cuts = 0.0
        self.expiries = 0.0
        self.refused_entries = 0.0
        self.delays = 0.0
        self.away: set[str] = set()
        self.counts: Counter[str] = Counter()
        self.asked: dict[str, list[float]] = defaultdict(list)
        self._shard_of: dict[str, str] = {}
        self._reads: dict[str, deque[float]] = defaultdict(deque)
        self._paid_at: dict[str, float] = defaultdict(float)
        self._written: dict[tuple[str, int], deque[tuple[float, int]]] = defaultdict(deque)
        self._written_bytes: Counter[tuple[str, int]] = Counter()
        self._server = _QuietServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def chance(self, rate: float) -> bool:
        with self.lock:
            return self.random.random() < rate

    def fault(self, operation: str, body: dict[str, Any]) -> tuple[int, str] | None:
        """The error that this call meets instead of being carried out."""
        if body.get("StreamName") in self.away:
            return 500, "InternalFailure"
        if self.chance(self.server_errors):
            return 500, "InternalFailure"
        if operation == "GetRecords":
            if self.chance(self.expiries):
                return 400, "ExpiredIteratorException"
            if not self._may_read(self._shard_of.get(body["ShardIterator"], "?")):
                return 400, "ProvisionedThroughputExceededException"
        return None

    def learn(self, operation: str, body: dict[str, Any], answer: dict[str, Any]) -> None:
        """Which shard an iterator reads."""
        if operation == "GetShardIterator" and "ShardIterator" in answer:
            self._shard_of[answer["ShardIterator"]] = f"{body['StreamName']}/{body['ShardId']}"
        elif operation == "GetRecords":
            shard = self._shard_of.get(body["ShardIterator"], "?")
            if answer.get("NextShardIterator"):
                self._shard_of[answer["NextShardIterator"]] = shard
            size = sum(_size(record) for record in answer.get("Records", []))
            self._paid_at[shard] = time.monotonic() + size / BYTES_A_SECOND_OUT  # a large read is paid for by a pause

    def take_entries(self, body: dict[str, Any]) -> list[bool]:
        """Which entries of a PutRecords are let through."""
        return [
            not self.chance(self.refused_entries) and self._may_write(body["StreamName"], entry)
            for entry in body["Records"]
        ]

    def _may_read(self, shard: str) -> bool:
        now = time.monotonic()
        with self.lock:
            self.asked[shard].append(now)
            recent = self._reads[shard]
            while recent and now - recent[0] >= 1.0:
                recent.popleft()
            allowed = len(recent) < READS_A_SECOND and now >= self._paid_at[shard]
            if allowed:
                recent.append(now)
        return allowed

    def _may_write(self, stream: str, entry: dict[str, Any]) -> bool:
        """By quarters of the key space, which is what four shards of equal size are."""
        quarter = md5(entry["PartitionKey"].encode(), usedforsecurity=False).digest()[0] // 64
        now, size = time.monotonic(), _size(entry)
        with self.lock:
            recent = self._written[stream, quarter]
            while recent and now - recent[0][0] >= 1.0:
                self._written_bytes[stream, quarter] -= recent.popleft()[1]
            within = not recent or self._written_bytes[stream, quarter] + size <= BYTES_A_SECOND_IN
            allowed = len(recent) < RECORDS_A_SECOND and within
            if allowed:
                recent.append((now, size))
                self._written_bytes[stream, quarter] += size
        return allowed

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self
        local = threading.local()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                operation = self.headers["X-Amz-Target"].partition(".")[2]
                body = json.loads(raw)
                if proxy.chance(proxy.delays):
                    proxy.counts["delayed"] += 1
                    time.sleep(proxy.random.uniform(0.0, LONGEST_DELAY_SECONDS))
                if (error := proxy.fault(operation, body)) is not None:
                    proxy.counts[error[1]] += 1
                    self.reply(error[0], {"__type": error[1], "message": "as ordered"})
                    return
                if proxy.chance(proxy.cuts / 2):
                    proxy.counts["cut before"] += 1
                    self.cut()
                    return
                status, answer = self.put_some(body) if operation == "PutRecords" else self.forward(body)
                proxy.learn(operation, body, answer)
                if proxy.chance(proxy.cuts / 2):
                    proxy.counts["cut after"] += 1
                    self.cut()
                    return
                self.reply(status, answer)

            def put_some(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
                taken = proxy.take_entries(body)
                wanted = [entry for entry, take in zip(body["Records"], taken, strict=True) if take]
                status, answer = self.forward(body | {"Records": wanted}) if wanted else (200, {"Records": []})
                if status != 200:
                    return status, answer
                done = iter(answer["Records"])
                refused = {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "slow down"}
                proxy.counts["entries refused"] += taken.count(False)
                records = [next(done) if take else refused for take in taken]
                return 200, {"Records": records, "FailedRecordCount": taken.count(False)}

            def forward(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
                headers = {
                    name: value
                    for name, value in self.headers.items()
                    if name.lower() not in ("content-length", "host", "connection", "accept-encoding")
                }
                for attempt in (0, 1):
                    if not hasattr(local, "connection"):
                        local.connection = http.client.HTTPConnection(
                            str(proxy.upstream.hostname), proxy.upstream.port, timeout=30
                        )
                    try:
                        local.connection.request("POST", "/", json.dumps(body).encode(), headers)
                        response = local.connection.getresponse()
                        return response.status, json.loads(response.read() or b"{}")
                    except (OSError, http.client.HTTPException):
                        del local.connection  # the emulator closes idle connections; a fresh one is tried once
                        if attempt:
                            raise
                raise AssertionError("unreachable")

            def reply(self, status: int, answer: dict[str, Any]) -> None:
                payload = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/x-amz-json-1.1")
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            def cut(self) -> None:
                self.close_connection = True
                self.connection.close()

            def log_message(self, format: str, *args: Any) -> None:
                """Calls are not news."""

        return Handler


def _size(record: dict[str, Any]) -> int:
    """As AWS counts: the bytes and the partition key."""
    return len(base64.b64decode(record["Data"])) + len(record["PartitionKey"].encode())
