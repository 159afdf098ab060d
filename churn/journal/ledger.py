"""What was shipped of a journal folder, counted so that a crash at any moment neither loses nor doubles a count."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from zlib import crc32

import msgspec

SLOT_BYTES = 1 << 16
_SLOT = struct.Struct("<IIQ")


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Counts since the folder was made: records acknowledged by the store, those of them it had already, and records
    that it can never take, by reason. `settled_bytes` is what all of these took in segments."""

    shipped: int = 0
    repeated: int = 0
    rejected: dict[str, int] = {}
    settled_bytes: int = 0

    @property
    def settled(self) -> int:
        """Records that need nothing more: acknowledged by the store, or rejected for good."""
        return self.shipped + sum(self.rejected.values())

    def __add__(self, other: Totals) -> Totals:
        reasons = {*self.rejected, *other.rejected}
        return Totals(
            shipped=self.shipped + other.shipped,
            repeated=self.repeated + other.repeated,
            rejected={name: self.rejected.get(name, 0) + other.rejected.get(name, 0) for name in sorted(reasons)},
            settled_bytes=self.settled_bytes + other.settled_bytes,
        )


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger's content. A worker's has a position: the segment being shipped, offset and index in it. The
    root's has the names of the folders that it took over and that may still lie there."""

    totals: Totals
    segment: int = 0
    offset: int = 0
    index: int = 0
    merged: tuple[str, ...] = ()


class Ledger:
    """A page kept in two slots written in turn, so that one is always whole. One owner at a time writes it."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the file, its space taken, so that a full disk does not stop it. Raises OSError."""
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if os.fstat(self._file).st_size < 2 * SLOT_BYTES:
            os.pwrite(self._file, bytes(2 * SLOT_BYTES), 0)
            os.fsync(self._file)
        self._turn, self.page = _newest(self._file)

    def write(self, page: Page, durable: bool = False) -> None:
        """Keep a page. `durable` before anything is deleted because of it; else the page cache is enough, as an
        older page merely ships some records again. Raises OSError: then the old page holds."""
        turn = self._turn + 1
        body = msgspec.json.encode(page)
        checked = turn.to_bytes(8, "little") + body
        os.pwrite(self._file, _SLOT.pack(crc32(checked), len(body), turn) + body, turn % 2 * SLOT_BYTES)
        if durable:
            os.fsync(self._file)
        self._turn, self.page = turn, page

    def close(self) -> None:
        """Give back the file."""
        os.close(self._file)


def read_page(path: Path) -> Page:
    """The page as it stands, for those who only look. An empty one when there is no file."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return Page(totals=Totals())
    try:
        return _newest(file)[1]
    finally:
        os.close(file)


def _newest(file: int) -> tuple[int, Page]:
    slots = [_slot(os.pread(file, SLOT_BYTES, position)) for position in (0, SLOT_BYTES)]
    return max(
        (slot for slot in slots if slot is not None), default=(0, Page(totals=Totals())), key=lambda slot: slot[0]
    )


def _slot(block: bytes) -> tuple[int, Page] | None:
    if len(block) < _SLOT.size:
        return None
    check, length, turn = _SLOT.unpack_from(block)
    body = block[_SLOT.size : _SLOT.size + length]
    if turn == 0 or crc32(turn.to_bytes(8, "little") + body) != check:
        return None
    return turn, msgspec.json.decode(body, type=Page)
