"""One line of JSON an event, for CloudWatch. Nothing about a customer belongs into it."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Any


def log(event: str, **facts: Any) -> None:
    line = {"event": event, "timestamp": datetime.now(UTC).isoformat(), **facts}
    print(json.dumps(line, default=str), file=sys.stdout, flush=True)
