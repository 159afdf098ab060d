"""`python -m web_service`: serve the model of RUN_ID over HTTP. `python -m web_service keys`: manage API keys."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from churn.errors import ChurnwatchError
from churn.settings import JournalSettings, ModelSettings, PseudonymSettings, StoreSettings, WebSettings, read


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        if options.command == "keys":
            from web_service.keys_command import run

            return run(options, read(WebSettings).web_keys_file)
        served = read(ModelSettings), read(StoreSettings), read(JournalSettings), read(WebSettings)
        settings = *served, read(PseudonymSettings)
        from web_service.server import serve  # after the settings: a wrong one is told at once

        serve(*settings)
    except ChurnwatchError as error:
        print(f"web_service: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m web_service", description=__doc__)
    commands = parser.add_subparsers(dest="command", title="commands", metavar="")
    commands.add_parser("serve", help="serve until stopped (the default)")
    keys = commands.add_parser("keys", help="API keys: add, put, list, revoke").add_subparsers(
        dest="action", required=True
    )
    add = keys.add_parser("add", help="make a key and show it, once")
    add.add_argument("name")
    add.add_argument("--rate", type=float, metavar="PER_SECOND", help="its own limit of requests a second")
    put = keys.add_parser("put", help="put a key that is in a file in force, in the place of the one of that name")
    put.add_argument("name")
    put.add_argument("file", type=Path)
    keys.add_parser("list", help="names, ages and limits")
    keys.add_parser("revoke", help="end a key").add_argument("name")
    return parser


if __name__ == "__main__":
    sys.exit(main())
