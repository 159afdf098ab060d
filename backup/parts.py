"""The parts of a backup: where each lives, how it is copied while everything runs, and how it is put back.

The journal comes first and the store second: an answer is in the one or in the other by then, so a backup of a running
system holds every answer that was given before it began. What is shipped twice after a restore is logged once.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from backup.manifest import Part
from churn.sqlite_copy import copy_sqlite, holds_rows, place_sqlite
from churn.store.copy import kind_of, load_store, save_store, store_is_empty

RUNTIME = ("lock", "ledger.lock")
"""Files of the journal that belong to living processes."""


@dataclass(frozen=True)
class Keeper:
    """How one part is kept. `save(folder)` returns None when there is nothing to keep; `load` says what it put back."""

    name: str
    where: str
    save: Callable[[Path], Part | None]
    is_empty: Callable[[], bool]
    load: Callable[[Path, Part], dict[str, int]]


def store(url: str, timeout_seconds: float) -> Keeper:
    """The prediction log, labels, checkpoints, verdicts and customers."""
    return Keeper(
        "store",
        url.rpartition("@")[2],
        lambda folder: Part("store", kind_of(url), save_store(url, folder, timeout_seconds)),
        lambda: store_is_empty(url, timeout_seconds),
        lambda folder, part: load_store(url, folder, part.kind, timeout_seconds),
    )


def sqlite(name: str, path: Path) -> Keeper:
    """A database of somebody else's server: MLflow's or Prefect's."""

    def save(folder: Path) -> Part | None:
        if not path.exists():
            return None
        folder.mkdir(parents=True)
        return Part(name, "sqlite", copy_sqlite(path, folder / "database.db"))

    return Keeper(
        name,
        str(path),
        save,
        lambda: not holds_rows(path),
        lambda folder, _: place_sqlite(folder / "database.db", path),
    )


def files(name: str, path: Path, skip: tuple[str, ...] = ()) -> Keeper:
    """A folder, or one file. Files that vanish while they are copied were not needed any more."""

    def save(folder: Path) -> Part | None:
        if not path.exists():
            return None
        copied = sum(copy_file(source, folder / relative) for source, relative in _listed(path, skip))
        return Part(name, "file" if path.is_file() else "files", {"files": copied})

    def load(folder: Path, part: Part) -> dict[str, int]:
        _clear(path)
        target = path.parent if part.kind == "file" else path
        put = sum(copy_file(source, target / relative) for source, relative in _listed(folder, ()))
        return {"files": put}

    return Keeper(name, str(path), save, lambda: not any(True for _ in _listed(path, skip)), load)


def copy_file(source: Path, target: Path) -> int:
    """How many were copied: 1, or 0 for one that is gone."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copy2(source, target)
    except FileNotFoundError:
        return 0
    return 1


def _listed(path: Path, skip: tuple[str, ...]) -> Iterator[tuple[Path, Path]]:
    """Each file with its place below the part: ledgers before segments, so that none counts what was not copied."""
    if path.is_file():
        yield path, Path(path.name)
        return
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name not in skip and not name.startswith("."):
                found = Path(folder) / name
                yield found, found.relative_to(path)


def _clear(path: Path) -> None:
    if path.is_file():
        path.unlink()
    elif path.is_dir():
        for found in path.iterdir():  # the folder itself may be where a volume is mounted
            shutil.rmtree(found) if found.is_dir() else found.unlink()
