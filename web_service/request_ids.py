"""X-Request-Id: a caller's own name for a request, sent back and written beside what the log says of it."""

from __future__ import annotations

import re
from uuid import uuid4

HEADER = "x-request-id"
SOUND = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
"""Anything else could pretend to be another line, or fill a disk."""


def request_id(sent: str | None) -> str:
    """The caller's, where it is sound, else a new one."""
    return sent if sent and SOUND.fullmatch(sent) else uuid4().hex
