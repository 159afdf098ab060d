#!/usr/bin/env python3
"""Is a server ready, does it serve this very run, does it score? The standard library alone.

It asks for an explanation, which is scored as a prediction is but not logged: no invented customer enters the log.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

CALL_SECONDS = 5.0
PAUSE_SECONDS = 0.5


class Wrong(Exception):
    """What the server answers is not what was deployed."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:9696")
    parser.add_argument("--key-file", type=Path, help="an API key; not needed where none is demanded")
    parser.add_argument("--run-id", help="the run that must answer")
    parser.add_argument("--score", action="store_true", help="have the example of its own description scored")
    parser.add_argument("--seconds", type=float, default=120.0, help="how long to wait until it is ready")
    options = parser.parse_args()
    has_key = options.key_file and options.key_file.is_file()
    key = options.key_file.read_text(encoding="ascii").strip() if has_key else ""
    try:
        until_ready(options.url, options.seconds)
        if options.run_id:
            served(options.url, key, options.run_id)
        if options.score:
            print(f"it scores: churn_probability {scored(options.url, key, options.run_id):.4f}")
    except Wrong as error:
        print(f"smoke test: {error}", file=sys.stderr)
        return 1
    print(f"{options.url} is ready" + (f" with run {options.run_id}" if options.run_id else ""))
    return 0


def until_ready(url: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            ask(f"{url}/ready")
            return
        except Wrong as error:
            if time.monotonic() > deadline:
                raise Wrong(f"not ready within {seconds:.0f} s: {error}") from error
        time.sleep(PAUSE_SECONDS)


def served(url: str, key: str, run_id: str) -> None:
    found = ask(f"{url}/model", key).get("model_run_id")
    if found != run_id:
        raise Wrong(f"it serves run {found}, deployed was {run_id}")


def scored(url: str, key: str, run_id: str | None) -> float:
    schema = ask(f"{url}/openapi.json")["components"]["schemas"]["Customer"]
    answer = ask(f"{url}/explain", key, schema["examples"][0])
    probability = answer.get("churn_probability")
    if not isinstance(probability, float) or not 0.0 <= probability <= 1.0:
        raise Wrong(f"its answer has no probability: {str(answer)[:200]}")
    if run_id and answer.get("model_run_id") != run_id:
        raise Wrong(f"run {answer.get('model_run_id')} answered, deployed was {run_id}")
    return probability


def ask(address: str, key: str = "", body: Any = None) -> dict[str, Any]:
    """A JSON answer with a good status. Raises Wrong."""
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, headers)  # noqa: S310  # the address is our own server's
    try:
        with urllib.request.urlopen(request, timeout=CALL_SECONDS) as answer:  # noqa: S310
            return dict(json.load(answer))
    except urllib.error.HTTPError as error:
        raise Wrong(f"{address} answered {error.code}: {error.read(300).decode('utf-8', 'replace')}") from error
    except (OSError, ValueError) as error:
        raise Wrong(f"{address}: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
