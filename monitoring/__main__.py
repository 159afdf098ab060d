"""`python -m monitoring`: judge closed windows of the log against each model's reference, and serve the gauges."""

from __future__ import annotations

import argparse
import sys

from churn.command_line import finish, with_verb
from churn.logs import configure_logs
from churn.tracing import start_tracing
from monitoring import commands


def main() -> int:
    options = commands.parser().parse_args(with_verb(None, commands.VERBS, "serve"))
    return finish(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    configure_logs("watch")
    start_tracing("watch", {"monitoring.watch:Watch": ("poll",)})
    if options.command == "status":
        return commands.show_status(options.json)
    if options.command == "evidently":
        return commands.ask_evidently(options.key, options.json)
    if options.command == "segments":
        return commands.show_segments(options.key, options.json)
    if options.command == "labels":
        return commands.bring_labels(options.file, options.json)
    if options.command == "judge":
        return commands.judge_past(options)
    return commands.watch(options.once)


if __name__ == "__main__":
    sys.exit(main())
