"""The page of every command line, read from the rooms' own parsers; tests hold the pages' commands against it."""

from __future__ import annotations

import argparse
import re
import runpy
import sys
import warnings
from collections.abc import Iterator
from functools import cache
from unittest import mock

import churnwatch
from churn.command_line import EXIT_CODES

ROOMS = tuple(package for package, _ in churnwatch.ROOMS.values())


class Held(BaseException):
    """A parser that was about to read its arguments. No room's error handling may take it for an error."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        self.parser = parser


@cache
def parser_of(room: str) -> argparse.ArgumentParser:
    """The parser that `python -m ROOM` makes, taken at the moment of its use, wherever the room builds it."""

    def hold(parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        raise Held(parser)

    with (
        mock.patch.object(argparse.ArgumentParser, "parse_args", hold),
        mock.patch.object(sys, "argv", [room]),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", RuntimeWarning)  # a test may have imported the room before
        try:
            runpy.run_module(room, run_name="__main__", alter_sys=False)
        except Held as held:
            return held.parser
    raise AssertionError(f"python -m {room} read no arguments")


def commands(room: str) -> dict[tuple[str, ...], argparse.ArgumentParser]:
    """Every parser of a room by the words that lead to it; the room itself by none."""
    return dict(_walk((), parser_of(room)))


def _walk(
    words: tuple[str, ...], parser: argparse.ArgumentParser
) -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    yield words, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, part in action.choices.items():
                yield from _walk((*words, word), part)


def options(parser: argparse.ArgumentParser) -> set[str]:
    return {option for action in parser._actions for option in action.option_strings}


def commands_page(note: str) -> str:
    """Every command with its arguments and options, as its help has them."""
    lines = [
        note,
        "# Commands",
        "",
        f"Each room is a program, `python -m ROOM`, and `churnwatch` leads to all: {_short()}.",
        f"`--help` after any of these says the same. {_sentence(EXIT_CODES)}",
    ]
    for room in ROOMS:
        lines += ["", f"## `python -m {room}`"]
        for words, parser in commands(room).items():
            if words:
                lines += ["", f"### `{' '.join((room, *words))}`"]
            lines += ["", *_about(room, words, parser)]
    return "\n".join(lines) + "\n"


def _short() -> str:
    return ", ".join(f"`churnwatch {name}` is `python -m {package}`" for name, (package, _) in churnwatch.ROOMS.items())


def _about(room: str, words: tuple[str, ...], parser: argparse.ArgumentParser) -> list[str]:
    text = parser.description or _help_of(room, words)
    lines = [_sentence(text)] if text else []
    rows = [row for action in parser._actions if (row := _row(action))]
    if rows:
        lines += ["", "| argument | what it is |", "| --- | --- |", *rows]
    return lines


def _help_of(room: str, words: tuple[str, ...]) -> str:
    above = commands(room)[words[:-1]]
    for action in above._actions:
        if isinstance(action, argparse._SubParsersAction):
            return next((choice.help or "" for choice in action._choices_actions if choice.dest == words[-1]), "")
    return ""


def _row(action: argparse.Action) -> str | None:
    if isinstance(action, argparse._HelpAction | argparse._SubParsersAction) or action.help == argparse.SUPPRESS:
        return None
    value = action.metavar or (
        "{" + ",".join(map(str, action.choices)) + "}" if action.choices else action.dest.upper()
    )
    if not action.option_strings:
        name = f"`{value if action.metavar or action.choices else action.dest}`"
    else:
        name = ", ".join(f"`{o}`" if action.nargs == 0 else f"`{o} {value}`" for o in action.option_strings)
    words = (action.help or "").replace("|", "\\|")
    if action.option_strings and action.nargs != 0 and action.default not in (None, "", []) and "default" not in words:
        words += f"{'; ' if words else ''}default: `{action.default}`"
    return f"| {name.replace('|', chr(92) + '|')} | {words} |"


def _sentence(text: str) -> str:
    text = re.sub(r"^`?python -m \w+`?: ", "", " ".join(text.split()).replace("%%", "%"))
    return text[0].upper() + text[1:] + ("" if text.endswith((".", "!", "?", "`")) else ".")
