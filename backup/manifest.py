"""What a backup says of itself: every file with its size and sha256, every part with its counts. Written last."""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path

import msgspec

from churn.errors import BackupError

MANIFEST = "manifest.json"
FORMAT = 1
CHUNK = 1 << 20


class Part(msgspec.Struct, frozen=True):
    """One thing that is kept: a folder of the backup. `counts` are rows, documents or objects by name."""

    name: str
    kind: str
    counts: dict[str, int]


class File(msgspec.Struct, frozen=True):
    path: str
    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    format: int
    made_at: datetime
    parts: list[Part]
    files: list[File]

    def part(self, name: str) -> Part | None:
        return next((part for part in self.parts if part.name == name), None)


def write_manifest(folder: Path, made_at: datetime, parts: list[Part]) -> Manifest:
    """List what lies in the folder. Whole or not at all: a backup without it is none."""
    files = [File(str(path.relative_to(folder)), path.stat().st_size, sha256_of(path)) for path in files_in(folder)]
    manifest = Manifest(FORMAT, made_at, parts, files)
    partial = folder / f".{MANIFEST}.part"
    partial.write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=1))
    partial.replace(folder / MANIFEST)
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """Raises BackupError when the folder holds no whole backup, or one of another format."""
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise BackupError(f"{folder}: no {MANIFEST} in it: not a backup, or one that was not finished") from None
    except msgspec.MsgspecError as error:
        raise BackupError(f"{folder / MANIFEST}: cannot be read: {error}") from error
    if manifest.format != FORMAT:
        raise BackupError(f"{folder}: a backup of format {manifest.format}; this version reads format {FORMAT}")
    return manifest


def check_files(folder: Path, manifest: Manifest) -> None:
    """Raises BackupError naming the first file that is not what was written."""
    for file in manifest.files:
        path = folder / file.path
        if not path.is_file():
            raise BackupError(f"{path}: is missing from the backup")
        if path.stat().st_size != file.bytes or sha256_of(path) != file.sha256:
            raise BackupError(f"{path}: is not what was written; restore another backup")


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
