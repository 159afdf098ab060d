"""Log lines to stdout, or nowhere: a disk that is full must not turn the answer that says so into another error."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

import structlog


class LastingLogger(structlog.PrintLogger):
    """Prints a line; one that cannot be written is left out."""

    def msg(self, message: str) -> None:
        with suppress(OSError):
            super().msg(message)

    log = debug = info = warn = warning = error = err = critical = fatal = exception = failure = msg


def configure_logs() -> None:
    """Send every log line of this process to stdout, before the first; stderr is for the one sentence of a start that
    fails."""

    def factory(*_: Any) -> LastingLogger:
        return LastingLogger(sys.stdout)

    structlog.configure(logger_factory=factory)
