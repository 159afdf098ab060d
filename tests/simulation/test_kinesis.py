from __future__ import annotations

import json
import threading

import pytest

from churn.prediction import derived_id
from simulation.customers import Customer
from simulation.kinesis import read_results, send_kinesis
from simulation.senders import SendError
from simulation.traffic import Receipt, make_events


def events(customers: list[Customer]) -> list:
    return list(make_events(customers, prefix="t"))


def identity(index: int) -> str:
    return derived_id("event", "credit_card", f"t-{index:07d}")


def put_result(client, *indexes: int, prediction_id: str | None = None, shard: int = 0) -> None:
    for index in indexes:
        document = {"event_id": f"t-{index:07d}", "prediction_id": prediction_id or identity(index)}
        client.records["results"][shard].append(json.dumps(document).encode())


def test_every_event_is_put_by_customer_and_its_prediction_id_is_foretold(
    memory_kinesis, twenty: list[Customer]
) -> None:
    receipts: list[Receipt] = []

    sent = send_kinesis(
        events(twenty), memory_kinesis, "predictions", contract="credit_card", group=8, on_receipt=receipts.append
    )

    assert (sent.sent, sent.answered, sent.failed, sent.retries) == (20, 20, 0, 0)
    assert memory_kinesis.calls["put"] == 3
    assert sent.prediction_ids == {f"t-{i:07d}": identity(i) for i in range(20)}
    assert [receipt.prediction_id for receipt in receipts] == [identity(i) for i in range(20)]
    put = [json.loads(data) for shard in memory_kinesis.records["predictions"] for data in shard]
    assert sorted(record["event_id"] for record in put) == [f"t-{i:07d}" for i in range(20)]
    assert {record["customer_id"] for record in put} == {customer.customer_id for customer in twenty}


def test_only_failed_entries_are_put_again(memory_kinesis, twenty: list[Customer]) -> None:
    def half(entries: list) -> dict:
        memory_kinesis.put_records("predictions", entries[::2])
        throttled = {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "slow down"}
        return {"Records": [throttled if index % 2 else {"SequenceNumber": "1"} for index in range(len(entries))]}

    memory_kinesis.put_faults = [half]

    sent = send_kinesis(events(twenty), memory_kinesis, "predictions", contract="credit_card")

    assert (sent.answered, sent.failed, sent.retries) == (20, 0, 1)
    put = [json.loads(data)["event_id"] for shard in memory_kinesis.records["predictions"] for data in shard]
    assert sorted(put) == [f"t-{i:07d}" for i in range(20)]
    assert "slow down" in sent.problems[0]


def test_an_outage_that_lasts_is_counted_and_the_rest_is_not_sent(
    memory_kinesis, twenty: list[Customer], aws_failure
) -> None:
    def down(entries: list) -> dict:
        raise aws_failure("InternalFailure")

    memory_kinesis.put_faults = [down] * 1000
    receipts: list[Receipt] = []

    sent = send_kinesis(
        events(twenty),
        memory_kinesis,
        "predictions",
        contract="credit_card",
        group=5,
        retry_seconds=0.1,
        on_receipt=receipts.append,
    )

    assert (sent.sent, sent.answered, sent.failed) == (5, 0, 5)
    assert {receipt.prediction_id for receipt in receipts} == {None}
    assert sent.prediction_ids == {}


def test_a_stream_that_is_not_there_is_a_clear_error(memory_kinesis, twenty: list[Customer]) -> None:
    with pytest.raises(SendError, match=r"nothing can be put on the stream nowhere: .*ResourceNotFound"):
        send_kinesis(events(twenty), memory_kinesis, "nowhere", contract="credit_card")
    with pytest.raises(SendError, match="the stream nowhere cannot be read"):
        read_results(memory_kinesis, "nowhere", ["t-0000000"])


def test_a_run_ends_early_when_told_to(memory_kinesis, twenty: list[Customer]) -> None:
    stop = threading.Event()
    stop.set()

    sent = send_kinesis(events(twenty), memory_kinesis, "predictions", contract="credit_card", stop=stop)

    assert (sent.sent, memory_kinesis.calls["put"]) == (0, 0)


def test_results_are_read_from_all_shards_and_those_of_others_do_not_count(memory_kinesis) -> None:
    put_result(memory_kinesis, 0, 1, shard=0)
    put_result(memory_kinesis, 2, 99, shard=1)

    results = read_results(memory_kinesis, "results", [f"t-{i:07d}" for i in range(3)], timeout_seconds=5)

    assert results.prediction_ids == {f"t-{i:07d}": identity(i) for i in range(3)}
    assert (results.repeats, results.conflicts, results.missing) == (0, 0, 0)


def test_missing_repeated_and_conflicting_results_are_counted(memory_kinesis) -> None:
    put_result(memory_kinesis, 0, 1, 1)
    put_result(memory_kinesis, 0, prediction_id="another")

    results = read_results(memory_kinesis, "results", [f"t-{i:07d}" for i in range(3)], timeout_seconds=0.3)

    assert (len(results.prediction_ids), results.repeats, results.conflicts, results.missing) == (2, 2, 1, 1)


def test_reading_goes_on_after_an_expired_iterator_a_throttle_and_a_split(memory_kinesis) -> None:
    put_result(memory_kinesis, 0, shard=0)
    memory_kinesis.read_faults = ["ExpiredIteratorException", "ProvisionedThroughputExceededException"]
    memory_kinesis.closed = {"shard-0"}
    memory_kinesis.records["results"].append([])
    put_result(memory_kinesis, 1, shard=2)

    results = read_results(memory_kinesis, "results", [f"t-{i:07d}" for i in range(2)], timeout_seconds=5)

    assert (len(results.prediction_ids), results.repeats, results.missing) == (2, 0, 0)
