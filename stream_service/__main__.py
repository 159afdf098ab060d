"""`python -m stream_service`: one clear sentence and exit code 1 when it cannot."""

from __future__ import annotations

import sys

from churn.command_line import finish
from stream_service.cli import main

sys.exit(finish(lambda: main(sys.argv[1:])))
