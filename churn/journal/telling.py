"""Log lines that a full disk may swallow: the journal must outlive the log that is on the same disk."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import structlog

_log = structlog.get_logger()


def tell(level: str, event: str, **facts: Any) -> None:
    """Log at a level ("info", "warning", "error"), or not at all when the log cannot be written."""
    with suppress(OSError):
        getattr(_log, level)(event, **facts)
