"""python -m simulation: make data, send traffic with known truth, deliver labels late, play the demo."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from churn.command_line import finish, make_parser
from churn.logs import configure_logs
from simulation import commands
from simulation.shift_specs import usages


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)

    def work() -> None:
        configure_logs("simulate")
        options.run(options)

    return finish(work)


def parser() -> argparse.ArgumentParser:
    """Every verb with its options."""
    top = make_parser("simulation", __doc__ or "")
    parts = top.add_subparsers(required=True, metavar="VERB")

    data = parts.add_parser("make-data", help="write simulated customers as a CSV file in the form of the raw source")
    data.add_argument("--contract", default="credit_card", help="name of a contract, or the path of a .toml file")
    data.add_argument("--rows", type=commands.positive, default=10_000)
    data.add_argument("--seed", type=int, default=1, help="the same seed gives the same customers")
    data.add_argument("--out", type=Path, required=True, metavar="FILE.csv")
    data.set_defaults(run=commands.make_data)

    traffic = parts.add_parser(
        "run",
        help="send traffic over HTTP and Kinesis, with shifts, and write the truth beside",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="shifts, each with an optional onset (@500, @500-1000 in rows of a route; @30s, @30s-60s):\n  "
        + "\n  ".join(usages()),
    )
    traffic.add_argument("--contract", default="credit_card", help="name of a contract, or the path of a .toml file")
    source = traffic.add_mutually_exclusive_group()
    source.add_argument("--run-id", default="", help="send customers that this run's model has not seen (RUN_ID)")
    source.add_argument("--features", metavar="VERSION", help="the unseen customers of this version of the features")
    source.add_argument("--population", action="store_true", help="fresh simulated customers; needs no feature store")
    traffic.add_argument("--http", metavar="URL", help="the web_service, such as http://127.0.0.1:9696")
    traffic.add_argument("--stream", metavar="NAME", help="the Kinesis stream of the stream_service")
    traffic.add_argument("--results", metavar="NAME", help="count the answers on this results stream at the end")
    traffic.add_argument("--rows", type=int, default=0, help="events a route; 0, the default: until Ctrl-C")
    traffic.add_argument("--rate", type=float, default=1.0, help="events a second and route; 0: as fast as it goes")
    traffic.add_argument("--shift", action="append", default=[], metavar="SPEC", help="may be given several times")
    traffic.add_argument("--truth", type=Path, metavar="FILE.jsonl", help="append what really happened to this file")
    traffic.add_argument("--label-delay", type=float, default=0.0, metavar="SECONDS", help="after which truth is known")
    traffic.add_argument("--seed", type=int, default=0)
    traffic.add_argument("--connections", type=commands.positive, default=4, help="HTTP connections side by side")
    traffic.add_argument("--batch", type=commands.positive, default=1, help="events an HTTP request")
    traffic.add_argument("--retry-seconds", type=float, default=30.0, help="how long an outage is waited out")
    traffic.set_defaults(run=commands.run)

    late = parts.add_parser("labels", help="deliver the labels of a truth file that are known by now")
    late.add_argument("--truth", type=Path, required=True, metavar="FILE.jsonl")
    target = late.add_mutually_exclusive_group(required=True)
    target.add_argument("--http", metavar="URL", help="post them to the web_service's /feedback")
    target.add_argument("--out", type=Path, metavar="FILE.csv", help="write them for 'python -m monitoring labels'")
    late.add_argument("--wait", action="store_true", help="stay until all are known and delivered; in a file: all")
    late.set_defaults(run=commands.labels)

    demo = parts.add_parser("demo", help="play the whole loop once on this machine: `make demo`")
    demo.add_argument("--contract", default="credit_card", help="name of a contract, or the path of a .toml file")
    demo.add_argument("--data", type=Path, metavar="FILE.csv", help="your customers; without it they are simulated")
    demo.add_argument("--shift", default="mean_shift", metavar="SPEC", help="what happens to the second half")
    demo.add_argument("--trials", type=commands.positive, default=10)
    demo.set_defaults(run=commands.demo)

    stay = parts.add_parser("up", help="start every room on this machine, until Ctrl-C: `make up`")
    stay.add_argument("--contract", default="credit_card", help="name of a contract, or the path of a .toml file")
    stay.set_defaults(run=commands.up)

    for part in (data, traffic, late):
        part.add_argument("--json", action="store_true", help="the outcome as one line of JSON")
    return top


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does: with a count of what was sent
    sys.exit(main())
