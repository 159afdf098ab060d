"""python -m orchestration contract infer: read a file, guess, write, and say what to look at."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from churn.contract import parse_contract
from churn.errors import DataError


def add_parser(parts: Any) -> None:
    """`contract infer` under the room's commands."""
    contract = parts.add_parser("contract", help="make a contract for a file of your own")
    kinds = contract.add_subparsers(required=True, metavar="KIND")
    infer = kinds.add_parser("infer", help="guess a first contract, every doubt in a comment")
    infer.add_argument("file", type=Path, metavar="FILE", help="CSV (plain or .gz), .xlsx or .parquet")
    infer.add_argument("--target", required=True, metavar="COLUMN", help="the column that says who left")
    infer.add_argument("--positive", metavar="VALUE", help="what it holds for those who left; default: a guess")
    infer.add_argument("--name", help="name of the contract; default: the file's")
    infer.add_argument("--out", type=Path, metavar="FILE.toml", help="default: NAME.toml in this folder")
    infer.add_argument("--force", action="store_true", help="write over a file that exists")
    infer.add_argument("--json", action="store_true", help="what was found as one line of JSON")
    infer.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Raises DataError: a file that cannot be used, a target that is none, or an output that exists."""
    from orchestration.infer.guess import guess
    from orchestration.infer.table import read_table
    from orchestration.infer.write import contract_text

    name = _name(options.name or options.file.name.split(".")[0])
    out = options.out or Path(f"{name}.toml")
    if out.exists() and not options.force:
        raise DataError(f"{out} exists; choose another --out, or write over it by --force")
    guessed = guess(read_table(options.file), options.target, options.positive)
    text = contract_text(guessed, name)
    contract = parse_contract(text, str(out))
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataError(f"{out} cannot be written: {error.strerror or error}; choose another --out") from error
    doubts = sum("DOUBT:" in line or "LEAK?" in line for line in text.splitlines())
    if options.json:
        facts = {"contract": str(out), "features": len(contract.features), "dropped": len(guessed.dropped)}
        print(json.dumps({**facts, "doubts": doubts, "positive": guessed.positive, "id": guessed.id_column}))
        return
    print(
        f"{out}: {len(contract.features)} features, {len(guessed.dropped)} columns left out, "
        f"{doubts} doubts in comments\n"
        f"positive = '{guessed.positive}' in {guessed.target.name}, id = {guessed.id_column}\n"
        f"next: read it, then   make demo CONTRACT={out} DATA={options.file}"
    )


def _name(text: str) -> str:
    return re.sub(r"\W+", "_", text).strip("_").lower() or "mine"
