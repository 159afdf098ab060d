"""verify finds that answers are the bundle's own, and says which are not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from churn.artifact import make_artifact
from churn.bundle import Bundle
from churn.calibration import Calibration
from orchestration.__main__ import main
from serverless.door import Door
from serverless.warm import Warm, from_file
from tests.fake_mlflow import FakeMlflow
from tests.fakes import make_bundle, pseudonym_key
from tests.serverless.local_gateway import local_gateway
from tests.services import free_port

Call = Callable[..., int]


@pytest.fixture
def mlflow(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeMlflow]:
    made = FakeMlflow()
    made.register(bundle, "champion")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", made.url)
    monkeypatch.setenv("BUNDLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("RUN_ID", raising=False)
    yield made
    made.close()


def door(bundle: Bundle, folder: Path) -> Door:
    (folder / "model.json").write_bytes(make_artifact(bundle))
    keep: Any = [].append
    return Door(Warm(from_file(folder / "model.json")), keep, lambda: pseudonym_key().decode())


def test_answers_of_the_same_model_pass(
    bundle: Bundle, mlflow: FakeMlflow, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with local_gateway(door(bundle, tmp_path).respond) as url:
        code = main(["verify", url, "--run-id", "champion", "--count", "30", "--seed", "1", "--json"])

    told = next(json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith('{"url'))
    assert code == 0
    assert (told["asked"], told["same"], told["different"], told["run_id"]) == (30, 30, [], bundle.run_id)
    assert told["largest_difference"] <= 1e-6


def test_another_calibration_is_found_out(
    bundle: Bundle, mlflow: FakeMlflow, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = dict(bundle.calibration.as_dict())
    other = replace(bundle, calibration=Calibration.from_dict(told | {"intercept": told["intercept"] + 0.1}))
    with local_gateway(door(other, tmp_path).respond) as url:
        code = main(["verify", f"{url}/predict", "--run-id", bundle.run_id, "--count", "3", "--seed", "1"])

    assert code == 3
    assert "3 answers of 3 are not those of run" in capsys.readouterr().err


def test_another_run_is_found_out(
    bundle: Bundle, mlflow: FakeMlflow, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = replace(bundle, run_id="b" * 32)
    with local_gateway(door(other, tmp_path).respond) as url:
        code = main(["verify", url, "--run-id", bundle.run_id, "--count", "1"])

    assert code == 3
    assert f"model_run_id={'b' * 32}: expected {bundle.run_id}" in capsys.readouterr().err


def test_a_service_that_refuses_a_customer_is_found_out(
    bundle: Bundle, mlflow: FakeMlflow, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with local_gateway(door(make_bundle(tmp_path / "bank", "bank"), tmp_path).respond) as url:
        code = main(["verify", url, "--run-id", bundle.run_id, "--count", "1"])

    assert code == 3
    assert "refused: credit_score=None: expected a whole number" in capsys.readouterr().err


def test_bare_numbers_are_compared_too(mlflow: FakeMlflow, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bank = make_bundle(tmp_path / "bank", "bank", run_id="c" * 32)
    mlflow.register(bank)
    with local_gateway(door(bank, tmp_path).respond) as url:
        code = main(["verify", url, "--run-id", bank.run_id, "--contract", "bank", "--numbers", "--count", "10"])

    assert code == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--run-id", "champion", "--count", "0"], "--count=0: expected 1 or more"),
        ([], "RUN_ID=: expected the run that should answer"),
        (["--run-id", "champion", "--numbers"], "a contract that gives an order of bare numbers"),
    ],
)
def test_what_cannot_be_asked_is_said(
    arguments: list[str], sentence: str, mlflow: FakeMlflow, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", f"http://127.0.0.1:{free_port()}", *arguments]) == 1
    assert sentence in capsys.readouterr().err


def test_a_service_that_is_away_or_refuses_is_an_error_of_another_kind(
    bundle: Bundle, mlflow: FakeMlflow, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forbidden = {"statusCode": 403, "headers": {}, "body": '{"detail": "no key"}'}
    with local_gateway(lambda event: forbidden) as url:
        assert main(["verify", url, "--run-id", "champion", "--count", "1"]) == 1
        assert "/prod/predict: status 403: no key" in capsys.readouterr().err
    assert main(["verify", url, "--run-id", "champion", "--count", "1"]) == 1
    assert "error: " in capsys.readouterr().err
