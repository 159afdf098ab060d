"""`python -m monitoring`: judge closed windows of the log against each model's reference, and serve the gauges."""

from __future__ import annotations

import sys

import structlog

from churn.errors import ChurnwatchError
from monitoring import commands


def main() -> int:
    options = commands.parser().parse_args()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    try:
        if options.command == "status":
            return commands.show_status(options.json)
        if options.command == "evidently":
            return commands.ask_evidently(options.key)
        if options.command == "segments":
            return commands.show_segments(options.key, options.json)
        if options.command == "labels":
            return commands.bring_labels(options.file)
        if options.command == "judge":
            return commands.judge_past(options)
        return commands.watch(options.once)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        sys.stderr.close()
        return 0
    except ChurnwatchError as error:
        print(f"monitoring: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
