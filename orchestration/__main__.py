"""python -m orchestration: features into S3, tuning, and what follows from it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from churn.command_line import finish, make_parser
from churn.tracing import FEATURES, start_tracing
from orchestration import commands, export, release_commands, retrain_commands, verify
from orchestration.infer import command as infer

TRACKING = {
    "orchestration.tracking:Tracker": ("log_candidate", "fetch", "end"),
    "orchestration.releases:Releases": ("log", "tag", "make_champion"),
}
"""What is a span while traces are on."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)

    def work() -> None:
        start_tracing("train", FEATURES, TRACKING)
        options.run(options)

    return finish(work)


def parser() -> argparse.ArgumentParser:
    """Every verb with its options."""
    top = make_parser("orchestration", __doc__ or "")
    parts = top.add_subparsers(required=True, metavar="VERB")

    ingest = parts.add_parser("ingest", help="publish a file of customers as a new version of features")
    what = ingest.add_mutually_exclusive_group(required=True)
    what.add_argument("file", type=Path, nargs="?", metavar="FILE", help="CSV (plain or .gz), .xlsx or .parquet")
    what.add_argument("--stored", action="store_true", help="instead of a file: all transactions in the store")
    ingest.add_argument("--cut-off", type=commands.day, metavar="DAY", help="of transactions: customers as of this day")
    ingest.set_defaults(run=commands.ingest)

    load = parts.add_parser(
        "load", help="put a file of transactions into the store; run again, it stores nothing twice"
    )
    load.add_argument("file", type=Path, metavar="FILE", help="CSV (plain or .gz), .xlsx or .parquet")
    load.set_defaults(run=commands.load)

    tune = parts.add_parser("tune", help="search for the best model, log every candidate, register a challenger")
    tune.add_argument("--version", help="version of the features; default: the newest")
    tune.add_argument("--trials", type=commands.positive, help="default: TRIALS, or 10")
    tune.add_argument("--time-budget-seconds", type=commands.positive, help="begin no trial after so long")
    tune.add_argument(
        "--resume",
        nargs="?",
        const="latest",
        metavar="RUN_ID",
        help="go on with an interrupted tuning: its parent run, or the newest; version and families are its own",
    )
    tune.add_argument("--no-progress", action="store_true", help="no progress bar")
    tune.set_defaults(run=commands.tune)

    infer.add_parser(parts)
    others = [*release_commands.add_parsers(parts), *retrain_commands.add_parsers(parts)]
    for part in (ingest, load, tune, export.add_parser(parts), verify.add_parser(parts), *others):
        part.add_argument("--contract", default="credit_card", help="name of a contract, or the path of a .toml file")
        part.add_argument("--json", action="store_true", help="end with one line of JSON on standard output")
    return top


if __name__ == "__main__":
    sys.exit(main())
