"""The short version of `make fuzz`: the same parsers and properties, a few inputs of each, always the same ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.__main__ import Finding, attempt, made, quiet
from tests.fuzz.targets import Target, make_targets

pytestmark = pytest.mark.integration
SEED, INPUTS = 7, 60


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Target]:
    return make_targets(tmp_path_factory.mktemp("fuzz"))


def test_every_parser_ends_in_an_answer_or_in_its_own_error(targets: dict[str, Target]) -> None:
    quiet()
    found = []
    for target in targets.values():
        for number in range(INPUTS):
            try:
                attempt(target, made(target, SEED, number))
            except Finding as finding:
                found.append(f"--seed {SEED} --target {target.name} --number {number}: {finding}")

    assert found == []


def test_an_input_is_the_same_for_the_same_three_words(targets: dict[str, Target]) -> None:
    for target in targets.values():
        assert made(target, SEED, 40) == made(target, SEED, 40)
        assert len({made(target, SEED, number) for number in range(40, 80)}) > 20


def test_what_a_parser_raises_beside_its_errors_is_found(tmp_path: Path) -> None:
    def broken(data: bytes) -> None:
        raise KeyError("planted")

    with pytest.raises(Finding, match="planted"):
        attempt(Target("planted", [b"x"], broken), b"x")
