"""`python -m web_service`: serve the model of RUN_ID over HTTP."""

from __future__ import annotations

import argparse
import sys

from churn.errors import ChurnwatchError
from churn.settings import JournalSettings, ModelSettings, StoreSettings, WebSettings, read


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m web_service", description=__doc__)
    parser.parse_args()
    try:
        settings = read(ModelSettings), read(StoreSettings), read(JournalSettings), read(WebSettings)
        from web_service.server import serve  # after the settings: a wrong one is told without loading a model library

        serve(*settings)
    except ChurnwatchError as error:
        print(f"web_service: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
