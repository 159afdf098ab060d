"""A Kinesis whose input stream never ends and which keeps nothing: for runs too long for an emulator's memory.

python -m benchmarks.endless_stream PAYLOADS.jsonl SHARDS

It answers the calls that the stream service makes, of the forms that AWS answers. Every record has a sequence number of
its own and holds the next of the payloads; what is put is counted and dropped. Prints its address, ends with stdin.
"""

from __future__ import annotations

import base64
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

BORN = 1_700_000_000


def main() -> None:
    payloads, shards = Path(sys.argv[1]).read_bytes().splitlines(), int(sys.argv[2])
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(EndlessStream(payloads, shards)))
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


class EndlessStream:
    """Answers calls by name. A shard's iterator is `SHARD:NUMBER` of the next record."""

    def __init__(self, payloads: list[bytes], shards: int) -> None:
        self._encoded = [base64.b64encode(payload).decode() for payload in payloads]
        self._shards = [f"shardId-{number:012d}" for number in range(shards)]

    def answer(self, operation: str, body: bytes) -> bytes:
        if operation == "PutRecords":  # counted by what each entry must have: to parse it would be our time, not theirs
            outcomes = ",".join(
                ['{"SequenceNumber":"1","ShardId":"shardId-000000000000"}'] * body.count(b'"PartitionKey"')
            )
            return b'{"FailedRecordCount":0,"Records":[%s]}' % outcomes.encode()
        asked = json.loads(body)
        if operation == "GetRecords":
            return self._records(asked)
        answers: dict[str, Any] = {
            "DescribeStreamSummary": {
                "StreamDescriptionSummary": {"StreamStatus": "ACTIVE", "StreamCreationTimestamp": BORN}
            },
            "ListShards": {
                "Shards": [
                    {"ShardId": shard, "SequenceNumberRange": {"StartingSequenceNumber": "0"}} for shard in self._shards
                ]
            },
            "GetShardIterator": {
                "ShardIterator": f"{asked.get('ShardId')}:{int(asked.get('StartingSequenceNumber', -1)) + 1}"
            },
        }
        return json.dumps(answers[operation]).encode()

    def _records(self, asked: dict[str, Any]) -> bytes:
        shard, _, first = asked["ShardIterator"].rpartition(":")
        after = int(first) + asked["Limit"]
        now = time.time()
        records = ",".join(
            f'{{"SequenceNumber":"{number}","ApproximateArrivalTimestamp":{now:.3f},'
            f'"Data":"{self._encoded[number % len(self._encoded)]}","PartitionKey":"{number}"}}'
            for number in range(int(first), after)
        )
        ending = f'"NextShardIterator":"{shard}:{after}","MillisBehindLatest":1000'
        return f'{{"Records":[{records}],{ending}}}'.encode()


def _handler(stream: EndlessStream) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = stream.answer(self.headers["X-Amz-Target"].partition(".")[2], body)
            self.send_response(200)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:
            """Calls are not news."""

    return Handler


if __name__ == "__main__":
    main()
