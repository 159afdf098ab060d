"""churnwatch ROOM VERB …: one command that leads to every room, each of which is `python -m ROOM VERB …` as well.

It runs the room from the folder that it lies in itself; nothing is installed.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

VERSION = "0.1.0"
ROOMS = {
    "train": ("orchestration", "features into S3, tuning, promotion, export: ingest, tune, promote, releases, …"),
    "web": ("web_service", "answers over HTTP, and callers' API keys: serve, keys"),
    "stream": ("stream_service", "answers over Kinesis: serve, status, dead-letters"),
    "watch": ("monitoring", "drift, alarms and performance: serve, status, judge, labels, segments, evidently"),
    "report": ("reporting", "reports on any past window: make, catch-up, list, index, purge"),
    "backup": ("backup", "everything that cannot be made anew, into a folder and back: make, check, restore"),
    "simulate": ("simulation", "customers, traffic, labels, the demo: demo, up, run, make-data, labels"),
}
"""The short name of each room, its package, and what is to be found there."""
HOME = Path(__file__).resolve().parent


def main(arguments: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if given[0] == "--version":
        print(f"churnwatch {VERSION}")
        return 0
    package = ROOMS.get(given[0], (given[0], ""))[0]
    if package not in {room for room, _ in ROOMS.values()}:
        print(f"churnwatch: {given[0]}: no such room; there are {', '.join(ROOMS)}", file=sys.stderr)
        return 2
    if not (HOME / package).is_dir():
        print(f"churnwatch: {given[0]}: this image holds another room; use the image of that room", file=sys.stderr)
        return 2
    sys.argv = [package, *given[1:]]
    runpy.run_module(package, run_name="__main__", alter_sys=True)  # ends by its own exit code
    return 0


def usage() -> str:
    """What the command leads to."""
    lines = ["usage: churnwatch ROOM VERB …    (the same as python -m PACKAGE VERB …)", "", "rooms:"]
    lines += [f"  {name:<9} {package:<15} {what}" for name, (package, what) in ROOMS.items()]
    lines += ["", "churnwatch ROOM --help lists a room's verbs; churnwatch ROOM VERB --help a verb's options."]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.path.insert(0, str(HOME))
    sys.exit(main())
