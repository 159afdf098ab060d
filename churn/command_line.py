"""How every command of every room ends and speaks: exit codes, one sentence of error, colour on terminals only."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from churn.errors import ChurnwatchError, Refused

DONE, FAILED, USAGE, REFUSED, INTERRUPTED = 0, 1, 2, 3, 130
EXIT_CODES = (
    "exit codes: 0 done; 1 failed, one sentence on standard error says why; 2 wrong usage; "
    "3 refused: the answer to what was asked is no; 130 stopped by Ctrl-C"
)


def make_parser(room: str, description: str, more: str = "") -> argparse.ArgumentParser:
    """The parser of a room, whose help ends with the exit codes. `more` is laid out as it is."""
    return argparse.ArgumentParser(
        prog=f"python -m {room}",
        description=description,
        epilog=f"{more}\n\n{EXIT_CODES}".strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter if more else argparse.HelpFormatter,
    )


def with_verb(arguments: Sequence[str] | None, verbs: Sequence[str], default: str) -> list[str]:
    """The arguments, with the default verb in front where none was given and no help was asked for."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and (given[0] in verbs or given[0] in ("-h", "--help")):
        return given
    if given and not given[0].startswith("-"):
        return given  # a word that is no verb: argparse names those there are
    return [default, *given]


def finish(work: Callable[[], int | None]) -> int:
    """Do the work; its exit code, or the one of what went wrong, told in one sentence on standard error."""
    try:
        return work() or DONE
    except Refused as error:
        print(f"refused: {error}", file=sys.stderr)
        return REFUSED
    except ChurnwatchError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        # Python flushes standard output once more at its end, which would tell of the same pipe again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


def wants_colour(stream: TextIO) -> bool:
    """Whether to colour what goes there: a terminal, and its user did not say NO_COLOR (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


@contextmanager
def progress(stream: TextIO | None = None) -> Iterator[Callable[[str], None]]:
    """Say where long work is, in one line that is written over; silent where nobody looks at a terminal."""
    out = stream or sys.stderr
    shown = out.isatty()

    def say(where: str) -> None:
        if shown:
            print(f"\r\x1b[K{where}", end="", file=out, flush=True)

    try:
        yield say
    finally:
        if shown:
            print("\r\x1b[K", end="", file=out, flush=True)
