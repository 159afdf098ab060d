"""A Kinesis in memory, as boto3's client would see it, whose faults a test orders one by one."""

# ruff: noqa: N803 the arguments are named as boto3 names them

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import md5
from typing import Any

from botocore.exceptions import ClientError, EndpointConnectionError


class FakeKinesisClient:
    """Streams, shards and records. `fail(operation, error)` makes the next call of it raise; faults queue up."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.now = now
        self.streams: dict[str, list[dict[str, Any]]] = {}
        self.born: dict[str, datetime] = {}
        self.calls: dict[str, int] = defaultdict(int)
        self.faults: dict[str, deque[Exception]] = defaultdict(deque)
        self.refuse_entries: deque[set[int]] = deque()
        self.iterators: dict[str, tuple[str, str, int]] = {}
        self._sequence = 49_000_000_000_000_000_000
        self._iterator = 0

    def fail(self, operation: str, code: str, times: int = 1) -> None:
        for _ in range(times):
            error: Exception = ClientError({"Error": {"Code": code, "Message": "as ordered"}}, operation)
            if code == "connection":
                error = EndpointConnectionError(endpoint_url="http://kinesis")
            self.faults[operation].append(error)

    def expire_iterators(self) -> None:
        self.iterators.clear()

    def split(self, stream: str, shard_id: str) -> list[str]:
        """Close a shard and open two children in its place."""
        shards = self.streams[stream]
        parent = next(shard for shard in shards if shard["id"] == shard_id)
        parent["closed"] = True
        middle = (parent["low"] + parent["high"]) // 2
        children = [
            _shard(len(shards) + i, low, high, [shard_id])
            for i, (low, high) in enumerate(((parent["low"], middle), (middle + 1, parent["high"])))
        ]
        shards.extend(children)
        return [child["id"] for child in children]

    def merge(self, stream: str, first: str, second: str) -> str:
        shards = self.streams[stream]
        parents = [shard for shard in shards if shard["id"] in (first, second)]
        for parent in parents:
            parent["closed"] = True
        low, high = min(p["low"] for p in parents), max(p["high"] for p in parents)
        shards.append(_shard(len(shards), low, high, [first, second]))
        return str(shards[-1]["id"])

    def records(self, stream: str) -> list[bytes]:
        """Everything on a stream, shard by shard."""
        return [record["Data"] for shard in self.streams.get(stream, []) for record in shard["records"]]

    # What boto3's client offers.

    def create_stream(self, StreamName: str, ShardCount: int) -> dict[str, Any]:
        self._enter("create_stream")
        step = 2**128 // ShardCount
        self.streams[StreamName] = [_shard(i, i * step, (i + 1) * step - 1, []) for i in range(ShardCount)]
        self.streams[StreamName][-1]["high"] = 2**128 - 1
        self.born[StreamName] = self.now()
        return {}

    def delete_stream(self, StreamName: str) -> None:
        del self.streams[StreamName]

    def describe_stream_summary(self, StreamName: str) -> dict[str, Any]:
        self._enter("describe_stream_summary", StreamName)
        return {
            "StreamDescriptionSummary": {
                "StreamStatus": "ACTIVE",
                "StreamCreationTimestamp": self.born[StreamName],
            }
        }

    def list_shards(self, StreamName: str = "", NextToken: str = "") -> dict[str, Any]:
        """Pages of two, so that paging is always walked."""
        stream, at = NextToken.split("|") if NextToken else (StreamName, "0")
        self._enter("list_shards", stream)
        shards = self.streams[stream][int(at) : int(at) + 2]
        page: dict[str, Any] = {"Shards": [_listed(shard) for shard in shards]}
        if int(at) + 2 < len(self.streams[stream]):
            page["NextToken"] = f"{stream}|{int(at) + 2}"
        return page

    def get_shard_iterator(
        self,
        StreamName: str,
        ShardId: str,
        ShardIteratorType: str,
        StartingSequenceNumber: str = "0",
        Timestamp: datetime | None = None,
    ) -> dict[str, Any]:
        self._enter("get_shard_iterator", StreamName)
        records = self._shard(StreamName, ShardId)["records"]
        assert ShardIteratorType != "LATEST", "LATEST loses what arrives before the first read"
        at = 0
        if ShardIteratorType == "AFTER_SEQUENCE_NUMBER":
            at = sum(int(record["SequenceNumber"]) <= int(StartingSequenceNumber) for record in records)
        elif ShardIteratorType == "AT_TIMESTAMP":
            assert Timestamp is not None
            at = sum(record["ApproximateArrivalTimestamp"] < Timestamp for record in records)
        return {"ShardIterator": self._new_iterator(StreamName, ShardId, at)}

    def get_records(self, ShardIterator: str, Limit: int) -> dict[str, Any]:
        self._enter("get_records")
        if ShardIterator not in self.iterators:
            raise ClientError({"Error": {"Code": "ExpiredIteratorException", "Message": "old"}}, "get_records")
        stream, shard_id, at = self.iterators[ShardIterator]
        shard = self._shard(stream, shard_id)
        records = shard["records"][at : at + Limit]
        rest = shard["records"][at + len(records) :]
        behind = int((self.now() - rest[0]["ApproximateArrivalTimestamp"]).total_seconds() * 1000) + 1 if rest else 0
        answer = {"Records": records, "MillisBehindLatest": behind}
        if rest or not shard["closed"]:
            answer["NextShardIterator"] = self._new_iterator(stream, shard_id, at + len(records))
        return answer

    def put_records(self, StreamName: str, Records: list[dict[str, Any]]) -> dict[str, Any]:
        self._enter("put_records", StreamName)
        assert len(Records) <= 500
        refused = self.refuse_entries.popleft() if self.refuse_entries else set()
        outcomes = []
        for index, record in enumerate(Records):
            if index in refused:
                outcomes.append({"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "slow down"})
            else:
                outcomes.append({"SequenceNumber": self.put(StreamName, record["PartitionKey"], record["Data"])})
        return {"Records": outcomes, "FailedRecordCount": len(refused)}

    def put(self, stream: str, partition_key: str, data: bytes) -> str:
        assert len(data) <= 1 << 20, "Kinesis refuses records over 1 MiB"
        place = int.from_bytes(md5(partition_key.encode(), usedforsecurity=False).digest(), "big")
        shard = next(s for s in self.streams[stream] if not s["closed"] and s["low"] <= place <= s["high"])
        self._sequence += 1
        shard["records"].append(
            {
                "SequenceNumber": str(self._sequence),
                "PartitionKey": partition_key,
                "Data": data,
                "ApproximateArrivalTimestamp": self.now(),
            }
        )
        return str(self._sequence)

    def _enter(self, operation: str, stream: str | None = None) -> None:
        self.calls[operation] += 1
        if self.faults[operation]:
            raise self.faults[operation].popleft()
        if stream is not None and stream not in self.streams:
            raise ClientError({"Error": {"Code": "ResourceNotFoundException", "Message": stream}}, operation)

    def _shard(self, stream: str, shard_id: str) -> dict[str, Any]:
        return next(shard for shard in self.streams[stream] if shard["id"] == shard_id)

    def _new_iterator(self, stream: str, shard_id: str, at: int) -> str:
        self._iterator += 1
        self.iterators[str(self._iterator)] = (stream, shard_id, at)
        return str(self._iterator)


def _shard(number: int, low: int, high: int, parents: list[str]) -> dict[str, Any]:
    name = f"shardId-{number:012d}"
    return {"id": name, "low": low, "high": high, "closed": False, "parents": parents, "records": []}


def _listed(shard: dict[str, Any]) -> dict[str, Any]:
    listed: dict[str, Any] = {"ShardId": shard["id"], "SequenceNumberRange": {"StartingSequenceNumber": "0"}}
    for key, parent in zip(("ParentShardId", "AdjacentParentShardId"), shard["parents"], strict=False):
        listed[key] = parent
    if shard["closed"]:
        listed["SequenceNumberRange"]["EndingSequenceNumber"] = "9" * 20
    return listed
