"""Segment files: records with length and checksum, appended and synced in groups, readable after any crash.

    file    = header, records, then an end mark or zeros (space taken in advance)
    header  = magic (8 bytes), salt (u32), created at (f64, seconds since 1970), crc32 of these (u32)
    record  = salt (u32), index in the segment (u32), flags and length (u32), crc32 of these and the payload, payload

The salt is drawn for each segment: it marks where a record may begin when a damaged one must be passed over. The
index tells how many were lost there.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

MAGIC = b"CHURNJ1\n"
HEADER = struct.Struct("<8sIdI")
RECORD = struct.Struct("<IIII")
_CHECKED = struct.Struct("<III")
KEYED = 1 << 31
END_MARK = 1 << 30
LENGTH = END_MARK - 1
READ_BYTES = 1 << 20
LIVE_READ_BYTES = 1 << 16
"""Where a writer is at work there is little to read and much empty space behind it."""
_sync = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync

Entry = tuple[Sequence[bytes], bool]
"""Payloads of one append, and whether they are keyed: looked up by id when a client repeats itself."""


class Record(NamedTuple):
    """One payload as it was appended, whether it can be looked up by its id, and where it begins in the file."""

    payload: bytes
    keyed: bool
    offset: int


@dataclass
class Chunk:
    """What one read found. `lost` records are those that damage swallowed, `damage` their bytes; `torn_bytes` an
    unfinished write at the end, which nobody was told had succeeded. `ended`: nothing more can come."""

    records: list[Record] = field(default_factory=list)
    damage: list[bytes] = field(default_factory=list)
    lost: int = 0
    torn_bytes: int = 0
    ended: bool = False


def segment_name(number: int) -> str:
    """Names sort as their numbers do."""
    return f"segment-{number:010d}.log"


def segment_numbers(folder: Path) -> list[int]:
    """The numbers of a folder's segments, oldest first; none when the folder is gone."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    return sorted(int(name[8:-4]) for name in names if name.startswith("segment-") and name.endswith(".log"))


class SegmentWriter:
    """An open segment. `end` is the offset up to which its records are on the disk, `count` how many they are.

    Not safe for threads: the journal lets one leader at a time write."""

    def __init__(self, path: Path, salt: int, size: int, created: float) -> None:
        """Makes the file and takes `size` bytes of disk for it. Raises OSError, leaving no file behind."""
        self.path = path
        self.salt = salt
        self.count = 0
        self.end = HEADER.size
        self.is_sealed = False
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            self._preallocate(size)
            fields = (MAGIC, salt, created)
            _write(self._file, HEADER.pack(*fields, crc32(struct.pack("<8sId", *fields))), 0)
            os.fsync(self._file)
            sync_folder(path.parent)
        except BaseException:
            self._remove()
            raise

    def append(self, entries: Sequence[Entry]) -> tuple[int, int]:
        """Write all payloads and sync once; says how many records and bytes. Raises OSError: then nothing counts."""
        frames: list[bytes] = []
        index = self.count
        for payloads, keyed in entries:
            for payload in payloads:
                checked = _CHECKED.pack(self.salt, index, len(payload) | KEYED if keyed else len(payload))
                frames += (checked, crc32(payload, crc32(checked)).to_bytes(4, "little"), payload)
                index += 1
        group = b"".join(frames)
        _write(self._file, group, self.end)
        _sync(self._file)
        records, self.count = index - self.count, index
        self.end += len(group)
        return records, len(group)

    def seal(self) -> None:
        """Mark the end and give back unused space. Also right after a failed write: what came after `end` goes."""
        if self.is_sealed:
            return
        self.is_sealed = True
        if self.count == 0:
            self._remove()
            return
        checked = _CHECKED.pack(self.salt, self.count, END_MARK)
        try:
            os.ftruncate(self._file, self.end)
            _write(self._file, checked + crc32(checked).to_bytes(4, "little"), self.end)
        except OSError:  # a full disk: the mark is a convenience, `end` is what the shipper goes by
            pass
        finally:
            os.close(self._file)

    def _preallocate(self, size: int) -> None:
        """Syncing then need not change the file's size: a fifth faster. Where refused, the file grows as it goes."""
        if not hasattr(os, "posix_fallocate"):  # macOS
            return
        try:
            os.posix_fallocate(self._file, 0, size)
        except OSError:
            os.ftruncate(self._file, 0)

    def _remove(self) -> None:
        os.close(self._file)
        self.path.unlink(missing_ok=True)


class SegmentReader:
    """Reads a segment onward from a record's offset, a bounded chunk at a time. Raises OSError, or ValueError for a
    file that is no segment."""

    def __init__(self, path: Path, offset: int = HEADER.size, index: int = 0) -> None:
        self.path = path
        self.offset = offset
        self.index = index
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        header = os.pread(self._file, HEADER.size, 0)
        if len(header) < HEADER.size or header[:8] != MAGIC or crc32(header[:-4]) != HEADER.unpack(header)[3]:
            os.close(self._file)
            raise ValueError(f"{path} is not a journal segment")
        _, self.salt, self.created, _ = HEADER.unpack(header)

    def read(self, end: int | None, whole: bool, max_records: int = 1_000, max_bytes: int = 8 << 20) -> Chunk:
        """Records up to the offset `end` (None: the end of the file). `whole`: no writer is at work below `end`, so
        whatever is no record is damage or a torn tail; else the reader waits there for the writer."""
        chunk = Chunk()
        file_end = os.fstat(self._file).st_size
        end = file_end if end is None else min(end, file_end)
        taken = 0
        while len(chunk.records) < max_records and taken < max_bytes and not chunk.ended:
            size = READ_BYTES if whole else LIVE_READ_BYTES
            block = os.pread(self._file, max(0, min(size, end - self.offset)), self.offset)
            used = self._parse(block, chunk, max_records)
            taken += used
            if used or chunk.ended:
                continue
            if not (whole or self._goes_on(block)) or not self._step_over(chunk, end, whole):
                break
        return chunk

    def payload(self, offset: int) -> bytes:
        """The payload of the record at an offset. Raises ValueError when there is none."""
        _, index, flags, _ = RECORD.unpack(os.pread(self._file, RECORD.size, offset))
        length = flags & LENGTH
        block = os.pread(self._file, RECORD.size + length, offset)
        if not self._is_record(block, 0, index, flags):
            raise ValueError(f"{self.path} holds no record at {offset}")
        return block[RECORD.size :]

    def close(self) -> None:
        """Give back the file."""
        os.close(self._file)

    def _parse(self, block: bytes, chunk: Chunk, max_records: int) -> int:
        """Take the good records at the front of a block; says how many bytes they were."""
        position, room = 0, len(block) - RECORD.size
        while position <= room and len(chunk.records) < max_records:
            salt, index, flags, check = RECORD.unpack_from(block, position)
            start = position + RECORD.size
            stop = start + (flags & LENGTH)
            if salt != self.salt or index < self.index or stop > len(block):
                break
            payload = block[start:stop]
            if crc32(payload, crc32(block[position : position + 12])) != check:
                break
            chunk.lost += index - self.index
            self.index = index
            if flags & END_MARK:
                chunk.ended = True
                break
            chunk.records.append(Record(payload, bool(flags & KEYED), self.offset + position))
            self.index, position = index + 1, stop
        self.offset += position
        return position

    def _goes_on(self, block: bytes) -> bool:
        """Whether a block begins with a record that is longer than the block."""
        if len(block) < RECORD.size:
            return False
        salt, _, flags, _ = RECORD.unpack_from(block)
        return bool(salt == self.salt and RECORD.size + (flags & LENGTH) > len(block))

    def _step_over(self, chunk: Chunk, end: int, whole: bool) -> bool:
        """At something that is no complete record of the block: a long record, damage, a torn tail or the end."""
        rest = os.pread(self._file, max(0, end - self.offset), self.offset)
        if self._parse(rest, chunk, len(chunk.records) + 1):
            return True
        if chunk.ended or not whole:
            return False
        found = self._next_record(rest)
        if found is None:
            chunk.torn_bytes = len(rest.rstrip(b"\0"))
            chunk.ended = True
            return False
        chunk.damage.append(rest[:found])
        self.offset += found
        return True

    def _next_record(self, rest: bytes) -> int | None:
        mark = self.salt.to_bytes(4, "little")
        position = rest.find(mark, 1)
        while position >= 0 and position + RECORD.size <= len(rest):
            _, index, flags, _ = RECORD.unpack_from(rest, position)
            if index >= self.index and self._is_record(rest, position, index, flags):
                return position
            position = rest.find(mark, position + 1)
        return None

    def _is_record(self, block: bytes, position: int, index: int, flags: int) -> bool:
        stop = position + RECORD.size + (flags & LENGTH)
        if stop > len(block):
            return False
        payload = block[position + RECORD.size : stop]
        check = int.from_bytes(block[position + 12 : position + 16], "little")
        salt = int.from_bytes(block[position : position + 4], "little")
        return salt == self.salt and crc32(payload, crc32(block[position : position + 12])) == check


def _write(file: int, block: bytes, offset: int) -> None:
    """All of it: a disk that is nearly full takes a part first and refuses the rest."""
    view = memoryview(block)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written


def sync_folder(folder: Path) -> None:
    """So that the new file's name survives a power cut as its content does."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
