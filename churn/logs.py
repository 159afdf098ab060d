"""Log lines of every room: one event with its facts a line, as JSON for machines or as text for a terminal.

No personal data: a line names predictions and requests by id and columns by name, never a customer or a value. A crash
is told by its type and the places it passed, without its message, since a message may quote what was being read; so is
one that nobody catches, where Python would print its own text. A library's warnings are lines as well.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from types import TracebackType
from typing import Any, TextIO

import orjson
import structlog

from churn.command_line import wants_colour
from churn.settings import LogSettings, read

LIBRARIES_FROM = logging.WARNING
"""What libraries say below this is theirs to know."""


class LastingLogger(structlog.PrintLogger):
    """Prints a line; one that cannot be written is left out: a full disk must not become another error."""

    def msg(self, message: str) -> None:
        with suppress(OSError, ValueError):
            super().msg(message)

    log = debug = info = warn = warning = error = err = critical = fatal = exception = failure = msg


class LibraryLines(logging.Handler):
    """What libraries log by Python's own module, as lines of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(Exception):  # a logger has nobody to tell
            level = record.levelname.lower()
            getattr(structlog.get_logger(), level, structlog.get_logger().warning)(
                record.getMessage().strip(), library=record.name, exc_info=record.exc_info
            )


def configure_logs(room: str, stream: TextIO | None = None) -> None:
    """Send every line of this process to a stream, standard error unless told. Call before the first. Raises
    SettingError for a format or a level that is none."""
    settings, out = read(LogSettings), stream or sys.stderr
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            lambda _, __, facts: {"room": room, **facts},
            without_messages,
            _as_json if settings.log_format == "json" else _as_text(wants_colour(out)),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
        logger_factory=lambda *_: LastingLogger(out),
    )
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # tells of each retry; whoever gives up says so itself
    logging.basicConfig(handlers=[LibraryLines()], level=LIBRARIES_FROM)  # does nothing where a library set up its own
    logging.captureWarnings(True)
    sys.excepthook = _tell_crash
    sys.unraisablehook = _tell_ignored
    threading.excepthook = _tell_threads_crash


def _tell_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    structlog.get_logger().critical("process_crashed", exc_info=error)


def _tell_threads_crash(crash: threading.ExceptHookArgs) -> None:
    if not issubclass(crash.exc_type, SystemExit):
        name = crash.thread.name if crash.thread else None
        structlog.get_logger().critical("thread_crashed", thread=name, exc_info=crash.exc_value)


def _tell_ignored(crash: sys.UnraisableHookArgs) -> None:
    """An exception where Python can raise none, such as in a finalizer; `object` may hold anything, so its type."""
    structlog.get_logger().warning("exception_ignored", of=type(crash.object).__name__, exc_info=crash.exc_value)


def without_messages(_: Any, __: str, facts: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Put an exception's type and places where it was; its message may quote a customer."""
    told = facts.pop("exc_info", None)
    if not told:
        return facts
    error = told if isinstance(told, BaseException) else told[1] if isinstance(told, tuple) else sys.exc_info()[1]
    if error is not None:
        facts["crash"] = type(error).__name__
        if isinstance(error, OSError) and type(error).__module__ == "builtins" and isinstance(error.errno, int):
            facts.setdefault("reason", os.strerror(error.errno))  # libraries' own have numbers of their own
        frames = traceback.extract_tb(error.__traceback__)
        facts["places"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    return facts


def _as_json(_: Any, __: str, facts: Mapping[str, Any]) -> str:
    first = {name: facts[name] for name in ("timestamp", "level", "room", "event") if name in facts}
    return orjson.dumps({**first, **facts}, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def _as_text(colour: bool) -> Any:
    return structlog.dev.ConsoleRenderer(colors=colour, exception_formatter=structlog.dev.plain_traceback)
