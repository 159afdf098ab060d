"""What each command of `python -m simulation` does, from parsed options to printed lines."""

from __future__ import annotations

import argparse
import contextlib
import os
from pathlib import Path

import pandas as pd

from churn.contract import load_contract
from churn.errors import DataError
from simulation.draw import draw_population, raw_table
from simulation.population import load_population


def positive(text: str) -> int:
    """An argparse type: a whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def make_data(options: argparse.Namespace) -> None:
    population = load_population(load_contract(options.contract))
    customers = draw_population(population, options.rows, options.seed)
    write_csv(raw_table(population, customers), options.out)
    print(f"{options.out}: {len(customers)} simulated customers, {customers['churned'].mean():.1%} of them leave")


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write all of it or nothing. Raises DataError when the path cannot be written."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(partial, index=False)
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise DataError(f"{path} cannot be written: {error.strerror or error}; give another --out") from error
