"""python -m simulation: make data, send traffic with known truth, deliver labels late."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from churn.errors import ChurnwatchError
from simulation import commands


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    parts = parser.add_subparsers(required=True, metavar="COMMAND")

    data = parts.add_parser("make-data", help="write simulated customers as a CSV file in the form of the raw source")
    data.add_argument("--contract", default="credit_card", help="name of a contract, or the path of a .toml file")
    data.add_argument("--rows", type=commands.positive, default=10_000)
    data.add_argument("--seed", type=int, default=1, help="the same seed gives the same customers")
    data.add_argument("--out", type=Path, required=True, metavar="FILE.csv")
    data.set_defaults(run=commands.make_data)

    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except ChurnwatchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
