"""The folder of reports that Nginx serves: written whole or not at all, read back for what changed and the index.

index.html                           every report, searchable
CONTRACT/WINDOW/RUN/index.html       the one-page summary
                   /summary.json     its twin
                   /evidently.html   Evidently's page, where there was something to compare
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Protocol

from churn.errors import ReportError
from reporting.document import Report, from_json
from reporting.window import Window

TWIN = "summary.json"
PAGE = "index.html"
SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,99}")
MAKING, OLD = ".making-", ".old-"


class ReportShelf(Protocol):
    """Where reports lie: a folder (Shelf) or a bucket (reporting/bucket.py). Every method may raise ReportError."""

    def address(self, name: str) -> str:
        """Where one of its files is, for people."""

    def path(self, contract: str, window: Window, run: str) -> str: ...

    def holds(self, path: str) -> bool: ...

    def has_index(self) -> bool: ...

    def workplace(self) -> AbstractContextManager[Path]: ...

    def publish(self, made: Path, path: str) -> None: ...

    def write(self, name: str, content: bytes) -> None: ...

    def reports(self, contract: str | None = None) -> Iterator[tuple[str, Report]]: ...

    def purge(self, before: datetime) -> list[str]: ...


class Shelf:
    """Reports under one folder. Several processes may write to it at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, contract: str, window: Window, run: str) -> str:
        """Where a report lies, relative to the folder; unsafe names are replaced by their hash."""
        return report_path(contract, window, run)

    def address(self, name: str) -> str:
        return str(self.folder.resolve() / name)

    def has_index(self) -> bool:
        return (self.folder / PAGE).is_file()

    def holds(self, path: str) -> bool:
        return (self.folder / path / PAGE).is_file()

    @contextmanager
    def workplace(self) -> Iterator[Path]:
        """A hidden folder on the same disk to make a report in. Raises ReportError when there is no writing."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            name = tempfile.mkdtemp(prefix=MAKING, dir=self.folder)
        except OSError as error:
            raise ReportError(f"REPORT_DIR={self.folder}: cannot be written: {error.strerror}") from error
        try:
            yield Path(name)
        finally:
            shutil.rmtree(name, ignore_errors=True)

    def publish(self, made: Path, path: str) -> None:
        """Put a finished workplace at its path, in place of what was there. Raises ReportError."""
        place = self.folder / path
        try:
            made.chmod(0o755)  # mkdtemp's are private, and the web server is another user
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.exists():
                old = Path(tempfile.mkdtemp(prefix=OLD, dir=self.folder))
                place.rename(old / "report")
                made.rename(place)
                shutil.rmtree(old, ignore_errors=True)
            else:
                made.rename(place)
        except OSError as error:
            raise ReportError(f"{place}: cannot be written: {error.strerror}") from error

    def write(self, name: str, content: bytes) -> None:
        """Put one file, such as the index, atomically. Raises ReportError."""
        try:
            with tempfile.NamedTemporaryFile(prefix=MAKING, dir=self.folder, delete=False) as file:
                temporary = Path(file.name)
                file.write(content)
            temporary.chmod(0o644)
            temporary.replace(self.folder / name)
        except OSError as error:
            raise ReportError(f"{self.folder / name}: cannot be written: {error.strerror}") from error

    def reports(self, contract: str | None = None) -> Iterator[tuple[str, Report]]:
        """(path, report) of all that can be read, newest window first, then by contract and run."""
        twins = self.folder.glob(f"{safe_name(contract) if contract else '*'}/*/*/{TWIN}")
        for twin in sorted(twins, key=lambda file: file.parts[-3:], reverse=True):
            try:
                yield "/".join(twin.parts[-4:-1]), from_json(twin.read_bytes())
            except (ReportError, OSError):
                continue  # of another version, or removed meanwhile: its page can still be opened by its address

    def purge(self, before: datetime) -> list[str]:
        """Remove the reports whose window ended before, and what crashed runs left; says which reports."""
        gone = [path for path, report in self.reports() if report.end < before]
        for path in gone:
            shutil.rmtree(self.folder / path, ignore_errors=True)
        for pattern in (f"{MAKING}*", f"{OLD}*"):
            for left in self.folder.glob(pattern):
                if left.stat().st_mtime < before.timestamp():
                    shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)
        for empty in sorted(self.folder.glob("*/*"), reverse=True):
            if empty.is_dir() and not any(empty.iterdir()):
                empty.rmdir()
        return gone


def report_path(contract: str, window: Window, run: str) -> str:
    return f"{safe_name(contract)}/{window.slug}/{safe_name(run)}"


def safe_name(name: str) -> str:
    """A name as a folder: no separators, no dots, nothing an address or a shell would read otherwise."""
    if SAFE_NAME.fullmatch(name):
        return name
    return f"other-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
