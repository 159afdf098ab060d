"""Only contracts and tests know a use case's columns: no name of any stands in the code of a room or the core."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from churn.contract import CONTRACTS_FOLDER, load_contract

ROOT = Path(__file__).resolve().parents[1]
ROOMS = (
    "churn",
    "orchestration",
    "web_service",
    "stream_service",
    "monitoring",
    "reporting",
    "simulation",
    "serverless",
    "docker",
    "benchmarks",
    "docs",
    "backup",
)
WORDS = {"Contract", "churn", "Churn", "data"}
"""Names of columns that are words of our own too."""
SUFFIXES = {".py", ".js", ".html", ".css", ".json", ".toml", ".yml", ".yaml", ".conf", ".rules"}
IGNORED = {"tests", "__pycache__", ".venvs"}
FILES = [
    path
    for room in ROOMS
    for path in sorted((ROOT / room).rglob("*"))
    if path.is_file() and path.suffix in SUFFIXES and not IGNORED & set(path.parts)
]


def columns() -> set[str]:
    """Every feature, every column of a raw source, every segment."""
    names: set[str] = set()
    for path in CONTRACTS_FOLDER.glob("*.toml"):
        contract = load_contract(path)
        names |= {*contract.feature_names, *contract.raw_columns.values(), *contract.drop}
        names |= {contract.id_column, contract.target.column}
        if contract.transactions is not None:
            names |= {*contract.transactions.columns, *(segment.name for segment in contract.transactions.segments)}
            names |= {feature.measure.column for feature in contract.features if feature.measure} - {None}
    return names - WORDS


def names_and_texts(source: str) -> tuple[set[str], set[str]]:
    """Every identifier of a Python file, and every text in it."""
    nodes = list(ast.walk(ast.parse(source)))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    names |= {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    names |= {node.arg for node in nodes if isinstance(node, ast.arg | ast.keyword) and node.arg}
    return names, {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def found_in(path: Path, known: set[str]) -> set[str]:
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return known & set(re.findall(r"""["'`]([^"'`\n]+)["'`]""", text))
    names, texts = names_and_texts(text)
    # A word such as age may name a variable of any code; a name of several words can only be a column's.
    return {name for name in names & known if "_" in name} | texts & known


@pytest.mark.parametrize("room", ROOMS)
def test_no_column_of_a_use_case_stands_in_the_code(room: str) -> None:
    known = columns()
    files = [path for path in FILES if path.is_relative_to(ROOT / room)]

    found = {str(path.relative_to(ROOT)): names for path in files if (names := found_in(path, known))}

    assert found == {}


def test_a_planted_name_is_found(tmp_path: Path) -> None:
    planted = {
        "a.py": "x = row['tenure']",
        "b.py": "row.total_trans_amt",
        "c.js": "form['CreditScore']",
        "d.py": "age = 1",
    }
    for name, text in planted.items():
        (tmp_path / name).write_text(text)

    assert [found_in(tmp_path / name, columns()) for name in planted] == [
        {"tenure"},
        {"total_trans_amt"},
        {"CreditScore"},
        set(),
    ]
