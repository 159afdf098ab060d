"""What Prefect's pages show: short enough to read, and complete."""

from __future__ import annotations

from orchestration.artifacts import key, notice_rows, run_address, trial_rows
from orchestration.outcome import Trial
from orchestration.retraining import Notice

RUN = "a" * 32


def test_trials_are_ranked_rounded_and_led_back_to_their_runs() -> None:
    metrics = {"validation_auc": 0.99589137495489, "cv_log_loss": 0.08009146296702789, "model_bytes": 412_345.0}
    first, second = trial_rows(
        [Trial(RUN, "m-1", "d", "lightgbm", {}, metrics), Trial("b" * 32, "m-2", "d", "xgboost", {}, {})]
    )

    assert (first["#"], first["Model"], first["AUC"], first["Log loss, folds"]) == ("1", "lightgbm", "0.9959", "0.0801")
    assert (first["Size, kB"], first["RUN_ID"]) == ("412", RUN)
    assert (second["#"], second["AUC"]) == ("2", "–")  # an older trial may lack a figure


def test_a_notice_is_told_fact_by_fact_without_what_is_empty() -> None:
    told = Notice("credit_card", "drift", "unfit", "no better", run_id=RUN, failed_gates=("quality", "latency"))
    rows = {row["what"]: row["told"] for row in notice_rows(told)}

    assert rows["failed gates"] == "quality, latency"
    assert rows["run id"] == RUN
    assert not {"test auc", "evidence", "replaced run id"} & set(rows)


def test_names_and_addresses_are_such_as_prefect_and_mlflow_take() -> None:
    assert key("trials", "Credit_Card 2") == "trials-credit-card-2"
    assert run_address("http://mlflow:5000/", RUN) == f"http://mlflow:5000/#/runs/{RUN}"
