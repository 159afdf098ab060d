"""The command line: what is wrong is said before anything slow begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestration.__main__ import main


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])

    assert ended.value.code == 0
    assert {"ingest", "tune"} <= set(capsys.readouterr().out.split())


def test_a_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "absent.csv"

    assert main(["ingest", str(path)]) == 1
    assert capsys.readouterr().err == f"error: {path}: no such file; give the path of a CSV file\n"


def test_an_unknown_contract_is_named_beside_those_that_are_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", "--contract", "nope"]) == 1

    error = capsys.readouterr().err
    assert error.startswith("error: nope: no such contract; known: ")
    assert "credit_card" in error


def test_a_wrong_number_of_trials_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["tune", "--trials", "0"])

    assert ended.value.code == 2
    assert "--trials: 0: expected a whole number, 1 or more" in capsys.readouterr().err


def test_a_prefect_that_is_down_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")

    assert main(["tune"]) == 1
    assert "error: Prefect at http://127.0.0.1:9/api cannot be reached" in capsys.readouterr().err


def test_an_mlflow_that_is_down_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune"]) == 1

    assert capsys.readouterr().err.startswith("error: MLflow at http://127.0.0.1:9 cannot be reached")
