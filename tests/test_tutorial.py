"""The tutorial for your own data does what it says: its table, its command, its output, and what comes of them."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.use_cases import cleaned, training_set
from churn.contract import load_contract
from orchestration.__main__ import main

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "tutorial-your-data.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture
def gym(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder after steps 1 and 2."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "make_gym.py").write_text(blocks("python")[0])
    subprocess.run([sys.executable, "make_gym.py"], cwd=tmp_path, check=True)
    return tmp_path


def test_the_command_says_what_the_page_shows(gym: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = shlex.split(blocks("sh")[0])
    assert command[:3] == ["python", "-m", "orchestration"]

    assert main(command[3:]) == 0

    assert capsys.readouterr().out == blocks("text")[0]
    assert blocks("toml")[0] in (gym / "gym.toml").read_text(encoding="utf-8")


def test_the_contract_takes_every_row_of_the_table(gym: Path) -> None:
    assert main(shlex.split(blocks("sh")[0])[3:]) == 0

    contract = load_contract("gym.toml")
    data = training_set(cleaned(Path("gym.csv"), contract), contract, seed=7)

    assert len(data.frame) == 4_000
    assert data.contract.feature("plan").levels == ("all", "basic", "plus")
    assert data.frame["age"].isna().sum() > 50
    assert data.matrix.shape == (4_000, 8)
