"""Puts a run id into .env.cloud or .env.local: one line changes, every other byte stays, and the file is never torn."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from churn.errors import ChurnwatchError


def _line_of(name: str) -> re.Pattern[str]:
    return re.compile(
        rf"^(?P<name>[ \t]*(?:export[ \t]+)?{name}[ \t]*=[ \t]*)"
        r"(?P<value>(?:\"[^\"\r\n]*\"|'[^'\r\n]*')(?![^\s#])|[^#\s]*)(?P<rest>[^\r\n]*)",
        flags=re.MULTILINE,
    )


RUN_ID_LINE = _line_of("RUN_ID")


class EnvFileError(ChurnwatchError):
    """The file cannot be read or written."""

    def __init__(self, path: Path, error: object) -> None:
        super().__init__(f"{path} cannot be edited: {error}; give --write the path of an environment file")


def value_in(path: Path, name: str) -> str:
    """What a variable is set to; the last line counts, as it does for a shell. Empty when it is not set."""
    lines = list(_line_of(name).finditer(_read(path)))
    return str(lines[-1]["value"]).strip("\"'") if lines else ""


def check_writable(path: Path) -> None:
    """Raise EnvFileError now rather than after an alias has moved."""
    _read(path)
    if not os.access(path, os.W_OK) or not os.access(path.resolve().parent, os.W_OK):
        raise EnvFileError(path, "it or its folder is read-only")


def write_run_id(path: Path, run_id: str) -> bool:
    """Set RUN_ID in place, comments kept; add the line where there is none. False when it stood there already."""
    text = _read(path)
    changed = RUN_ID_LINE.sub(lambda line: f"{line['name']}{run_id}{line['rest']}", text)
    if not RUN_ID_LINE.search(text):
        end = "\r\n" if "\r\n" in text else "\n"
        changed = text + (end if text and not text.endswith("\n") else "") + f"RUN_ID={run_id}{end}"
    if changed == text:
        return False
    _replace(path, changed)
    return True


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", newline="") as file:  # line ends as they are
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise EnvFileError(path, getattr(error, "strerror", None) or error) from error


def _replace(path: Path, text: str) -> None:
    target = path.resolve()  # through a symbolic link, which stays one
    temporary = ""
    try:
        with tempfile.NamedTemporaryFile("wb", dir=target.parent, prefix=f".{target.name}.", delete=False) as file:
            temporary = file.name
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, target.stat().st_mode & 0o7777)
        os.replace(temporary, target)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise EnvFileError(path, error.strerror or error) from error
