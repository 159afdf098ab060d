"""A quickened client beside boto3's own: the same requests, the same answers, the same errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError

from stream_service.wire import quicken

TWO_RECORDS = {
    "Records": [
        {
            "SequenceNumber": "49607933892580429045866716038015163261214518926441971714",
            "ApproximateArrivalTimestamp": 1764220405.123,
            "Data": "eyJhIjogMX0=",
            "PartitionKey": "kühn",
            "EncryptionType": "NONE",
        },
        {
            "SequenceNumber": "7",
            "ApproximateArrivalTimestamp": 1.764220405e9,
            "Data": "",
            "PartitionKey": "b",
        },
    ],
    "NextShardIterator": "next",
    "MillisBehindLatest": 12,
    "ChildShards": [],
}
SOME_REFUSED = {
    "FailedRecordCount": 1,
    "Records": [
        {"SequenceNumber": "1", "ShardId": "shardId-000000000000"},
        {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "slow down"},
    ],
}


class Wire:
    """What a client sends is kept, what it is answered is given."""

    def __init__(self, make: Callable[[Any], Any], status: int, answer: bytes) -> None:
        client = boto3.client(
            "kinesis", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
        )
        self.client = make(client)
        self.sent: list[Any] = []
        self.status, self.answer = status, answer
        client.meta.events.register("before-send.kinesis.*", self._send)

    def _send(self, request: Any, **_: Any) -> AWSResponse:
        self.sent.append(request)
        response = AWSResponse(request.url, self.status, {"x-amzn-RequestId": "id"}, None)
        response._content = self.answer
        return response


@pytest.fixture
def both() -> Callable[..., tuple[Wire, Wire]]:
    def make(answer: Any, status: int = 200) -> tuple[Wire, Wire]:
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        return Wire(lambda client: client, status, body), Wire(quicken, status, body)

    return make


def get(wire: Wire) -> dict[str, Any]:
    return wire.client.get_records(ShardIterator="here", Limit=10)  # type: ignore[no-any-return]


def put(wire: Wire) -> dict[str, Any]:
    entries = [{"Data": b"\x00\xffbytes", "PartitionKey": "kühn"}, {"Data": b"", "PartitionKey": "b"}]
    return wire.client.put_records(StreamName="results", Records=entries)  # type: ignore[no-any-return]


def test_records_read_are_those_that_boto3_reads(both: Any) -> None:
    plain, quick = map(get, both(TWO_RECORDS))

    for field in ("NextShardIterator", "MillisBehindLatest"):
        assert quick[field] == plain[field]
    assert [
        {name: value for name, value in record.items() if name != "EncryptionType"} for record in plain["Records"]
    ] == quick["Records"]
    assert quick["Records"][0]["Data"] == b'{"a": 1}'
    assert quick["Records"][0]["ApproximateArrivalTimestamp"] == datetime(2025, 11, 27, 5, 13, 25, 123000, UTC)


def test_the_end_of_a_shard_has_no_next_iterator(both: Any) -> None:
    plain, quick = map(get, both({"Records": [], "NextShardIterator": None, "MillisBehindLatest": 0}))

    assert "NextShardIterator" not in plain
    assert "NextShardIterator" not in quick
    assert quick["Records"] == plain["Records"] == []


def test_records_put_are_sent_as_boto3_sends_them(both: Any) -> None:
    plain, quick = both(SOME_REFUSED)

    answers = put(plain), put(quick)

    (theirs,), (ours,) = plain.sent, quick.sent
    assert json.loads(ours.body) == json.loads(theirs.body)
    assert ours.headers["X-Amz-Target"] == theirs.headers["X-Amz-Target"]
    assert int(ours.headers["Content-Length"]) == len(ours.body)
    assert [[entry.get("ErrorCode") for entry in answer["Records"]] for answer in answers] == [
        [None, "ProvisionedThroughputExceededException"]
    ] * 2
    assert answers[1]["Records"][1]["ErrorMessage"] == "slow down"


@pytest.mark.parametrize("call", [get, put])
def test_an_error_is_the_one_that_boto3_raises(both: Any, call: Callable[[Wire], Any]) -> None:
    raised = []
    for wire in both({"__type": "com.amazonaws#ExpiredIteratorException", "message": "old"}, status=400):
        with pytest.raises(ClientError) as caught:
            call(wire)
        raised.append(caught.value.response["Error"])

    assert raised[0] == raised[1] == {"Code": "ExpiredIteratorException", "Message": "old"}


@pytest.mark.parametrize("answer", [b"", b"<html>no JSON</html>", b'{"Records": 3}', b'{"Records": [{"Data": "%"}]}'])
def test_an_answer_that_is_not_as_expected_is_left_to_boto3(both: Any, answer: bytes) -> None:
    outcomes: list[Any] = []
    for wire in both(answer):
        try:
            outcomes.append(get(wire)["ResponseMetadata"]["HTTPStatusCode"])
        except Exception as error:
            outcomes.append((type(error), str(error)))

    assert outcomes[0] == outcomes[1]
