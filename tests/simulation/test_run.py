from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from churn.contract import Contract
from churn.prediction import derived_id
from simulation.__main__ import main
from simulation.run import Plan, run_traffic, summary
from simulation.senders import SendError
from simulation.shift_specs import parse_shift
from simulation.truth import read_truth


@pytest.fixture
def plan(credit_card: Contract, simulated: pd.DataFrame, door, tmp_path: Path) -> Plan:
    return Plan(
        contract=credit_card,
        customers=simulated,
        source="a test",
        shifts=(parse_shift("null_burst::1@10", credit_card, simulated),),
        rows=30,
        rate=0.0,
        seed=4,
        http_url=door.url,
        stream="predictions",
        truth=tmp_path / "truth.jsonl",
    )


def test_both_routes_send_their_own_customers_with_the_truth_beside(plan: Plan, door, memory_kinesis) -> None:
    outcome = run_traffic(plan, memory_kinesis, label="run")

    assert [(sent.route, sent.answered) for sent in outcome.sent] == [("http", 30), ("stream", 30)]
    truth = read_truth(plan.truth)
    http, stream = ([e for e in truth.events if e.route == route] for route in ("http", "stream"))
    assert not {e.customer_id for e in http} & {e.customer_id for e in stream}
    assert sorted(e.index for e in http) == sorted(e.index for e in stream) == list(range(30))
    assert {e.index for e in http if e.shifts} == set(range(10, 30))
    assert {body["event_id"] for _, body, _ in door.requests} == {e.event_id for e in http}
    assert {e.prediction_id for e in stream} == {
        derived_id("event", "credit_card", f"run-stream-{i:07d}") for i in range(30)
    }


def test_a_second_run_has_other_event_ids_and_appends_to_the_truth(plan: Plan, memory_kinesis) -> None:
    run_traffic(plan, memory_kinesis)
    run_traffic(plan, memory_kinesis)

    truth = read_truth(plan.truth)
    assert len(truth.headers) == 2
    assert len({event.event_id for event in truth.events}) == 120


def test_answers_on_the_results_stream_are_counted(plan: Plan, memory_kinesis, credit_card: Contract) -> None:
    for index in range(30):
        event_id = f"run-stream-{index:07d}"
        result = {"event_id": event_id, "prediction_id": derived_id("event", "credit_card", event_id)}
        memory_kinesis.records["results"][0].append(json.dumps(result).encode())
    plan = Plan(**{**plan.__dict__, "results_stream": "results"})

    outcome = run_traffic(plan, memory_kinesis, label="run")

    assert outcome.results is not None
    assert outcome.results.missing == 0
    assert summary(outcome)[-1] == "results: 30 answered, 0 repeats, 0 missing"


def test_when_one_route_cannot_work_the_other_stops_and_the_reason_is_raised(plan: Plan, memory_kinesis) -> None:
    plan = Plan(**{**plan.__dict__, "stream": "nowhere", "rows": 0, "rate": 50.0})

    with pytest.raises(SendError, match="the stream nowhere"):
        run_traffic(plan, memory_kinesis)


def test_the_command_sends_fresh_customers_to_an_address(
    door, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = tmp_path / "truth.jsonl"
    arguments = ["run", "--population", "--http", door.url, "--rows", "25", "--rate", "0", "--truth", str(truth)]

    assert main([*arguments, "--shift", "mean_shift:total_trans_amt:1@5", "--batch", "10"]) == 0

    assert "http: 25 sent, 25 answered, 0 refused, 0 failed" in capsys.readouterr().out
    assert sum(bool(event.shifts) for event in read_truth(truth).events) == 20


def test_refused_events_end_the_command_with_their_reason(door, capsys: pytest.CaptureFixture[str]) -> None:
    door.plan = [(422, {"detail": "customer_age=1: expected more"}, {})]

    assert main(["run", "--population", "--http", door.url, "--rows", "5", "--rate", "0"]) == 1

    captured = capsys.readouterr()
    assert "5 sent, 4 answered, 1 refused" in captured.out
    assert "customer_age=1: expected more" in captured.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--population"], "--http=: expected the address of a web_service, or --stream NAME"),
        (["--http", "http://x", "--contract", "none"], "none: no such contract"),
        (["--http", "http://x", "--population", "--shift", "oops"], "--shift=oops: expected one of"),
        (["--http", "http://x"], "RUN_ID=: expected the run whose unseen customers are sent"),
    ],
)
def test_a_wrong_option_is_one_clear_sentence(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RUN_ID", raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")

    assert main(["run", *arguments]) == 1
    assert said in capsys.readouterr().err
