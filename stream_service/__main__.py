"""`python -m stream_service`: one clear sentence and exit code 1 when it cannot."""

from __future__ import annotations

import sys

from churn.errors import ChurnwatchError
from stream_service.cli import main

try:
    main(sys.argv[1:])
except ChurnwatchError as error:
    print(f"stream_service: {error}", file=sys.stderr)
    sys.exit(1)
except BrokenPipeError:
    sys.exit(0)
