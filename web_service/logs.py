"""The HTTP service's log: standard output, since standard error is for the one sentence of a start that fails."""

from __future__ import annotations

import sys

from churn import logs


def configure_logs() -> None:
    """Call in every process, before the first line."""
    logs.configure_logs("web", sys.stdout)
