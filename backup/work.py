"""Making a backup, checking one, and restoring one: the order of steps, whatever the parts are."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from backup.manifest import MANIFEST, Manifest, Part, check_files, files_in, read_manifest, write_manifest
from backup.parts import Keeper
from churn.errors import BackupError, Refused

Say = Callable[[str], None]


def make(keepers: Sequence[Keeper], folder: Path, found: Sequence[str], now: datetime, say: Say) -> Manifest:
    """Copy every part into an empty folder, the manifest last. `found` are folders already in it, dumps that another
    program wrote, which become parts as they are. Raises BackupError; what was begun is then removed."""
    _check_target(folder, found)
    parts = [Part(name, "dumps", {"files": len(files_in(folder / name))}) for name in found]
    try:
        for keeper in keepers:
            say(f"copying {keeper.name}: {keeper.where}")
            part = keeper.save(folder / keeper.name)
            if part is not None:
                parts.append(part)
        say("checksums")
        return write_manifest(folder, now, parts)
    except OSError as error:
        raise BackupError(f"{folder}: cannot be written: {error.strerror or error}") from error
    finally:
        if not (folder / MANIFEST).exists():
            for keeper in keepers:
                shutil.rmtree(folder / keeper.name, ignore_errors=True)


def check(folder: Path) -> Manifest:
    """The manifest of a backup whose every file is what was written. Raises BackupError."""
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    return manifest


def restore(keepers: Sequence[Keeper], folder: Path, replace: bool, say: Say) -> dict[str, dict[str, int]]:
    """Put every part of a backup back and compare the counts. Nothing is touched before all files are checked and,
    unless `replace`, all targets are found empty. Raises BackupError or Refused. Returns what was put back."""
    say("checking the backup's files")
    manifest = check(folder)
    wanted = [(keeper, part) for keeper in keepers if (part := manifest.part(keeper.name)) is not None]
    if not replace and (full := [keeper for keeper, _ in wanted if not keeper.is_empty()]):
        places = "; ".join(f"{keeper.name} ({keeper.where})" for keeper in full)
        raise Refused(f"not empty: {places}. Restore into a new place, or write over it all by --replace")
    done = {}
    for keeper, part in wanted:
        say(f"restoring {keeper.name}: {keeper.where}")
        done[keeper.name] = keeper.load(folder / keeper.name, part)
        if done[keeper.name] != part.counts:
            raise BackupError(f"{keeper.name}: {done[keeper.name]} came back, the backup has {part.counts}")
    return done


def _check_target(folder: Path, found: Sequence[str]) -> None:
    """Raises Refused for a folder with anything else in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # it holds customers' data
        left = {path.name for path in folder.iterdir()} - set(found)
    except OSError as error:
        raise BackupError(f"{folder}: cannot be written: {error.strerror or error}") from error
    if left:
        raise Refused(f"{folder} is not empty ({', '.join(sorted(left)[:3])}); a backup is made in a folder of its own")
    if absent := [name for name in found if not (folder / name).is_dir()]:
        raise BackupError(f"{folder / absent[0]}: no such folder of dumps")
