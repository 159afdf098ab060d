"""`python -m web_service`: serve the model of RUN_ID over HTTP. `python -m web_service keys`: manage API keys."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from churn.command_line import finish, make_parser, with_verb
from churn.settings import JournalSettings, ModelSettings, PseudonymSettings, StoreSettings, WebSettings, read

VERBS = ("serve", "keys")


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(with_verb(arguments, VERBS, "serve"))
    return finish(lambda: _keys(options) if options.command == "keys" else _serve())


def _serve() -> int:
    served = read(ModelSettings), read(StoreSettings), read(JournalSettings), read(WebSettings)
    settings = *served, read(PseudonymSettings)
    from web_service.server import serve  # after the settings: a wrong one is told at once

    serve(*settings)
    return 0


def _keys(options: argparse.Namespace) -> int:
    from web_service.keys_command import run

    return run(options, read(WebSettings).web_keys_file)


def parser() -> argparse.ArgumentParser:
    """Every verb with its options."""
    top = make_parser("web_service", "Answers with churn predictions over HTTP, and keeps the API keys of callers.")
    commands = top.add_subparsers(dest="command", metavar="VERB", required=True)
    commands.add_parser("serve", help="serve the model of RUN_ID until stopped (the default)")
    keys = commands.add_parser("keys", help="API keys: add, put, list, revoke").add_subparsers(
        dest="action", metavar="VERB", required=True
    )
    add = keys.add_parser("add", help="make a key and show it, once")
    add.add_argument("name")
    add.add_argument("--rate", type=float, metavar="PER_SECOND", help="its own limit of requests a second")
    put = keys.add_parser("put", help="put a key that is in a file in force, in the place of the one of that name")
    put.add_argument("name")
    put.add_argument("file", type=Path)
    listed = keys.add_parser("list", help="names, ages and limits")
    revoke = keys.add_parser("revoke", help="end a key")
    revoke.add_argument("name")
    for each in (add, put, listed, revoke):
        each.add_argument("--json", action="store_true", help="the answer as one line of JSON")
    return top


if __name__ == "__main__":
    sys.exit(main())
