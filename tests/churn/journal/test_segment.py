"""Segment files: what was synced is read back, whatever a crash or a bad disk did to the rest."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from churn.journal.segment import HEADER, RECORD, Chunk, SegmentReader, SegmentWriter, segment_name, segment_numbers

SALT = 0x5EEDF00D


def written(folder: Path, payloads: list[bytes], *, sealed: bool = False, size: int = 4096) -> tuple[Path, int]:
    """A segment and the offset of its end."""
    path = folder / segment_name(1)
    segment = SegmentWriter(path, SALT, size, 1_000.0)
    for payload in payloads:
        segment.append([([payload], False)])
    end = segment.end
    if sealed:
        segment.seal()
    return path, end


def read(path: Path, end: int | None = None, *, whole: bool = True) -> Chunk:
    reader = SegmentReader(path)
    chunk = reader.read(end, whole)
    reader.close()
    return chunk


def payloads(chunk: Chunk) -> list[bytes]:
    return [record.payload for record in chunk.records]


@pytest.mark.parametrize("sealed", [True, False])
def test_what_was_written_is_read_in_order(tmp_path: Path, sealed: bool) -> None:
    path, _ = written(tmp_path, [b"one", b"", b"three" * 300], sealed=sealed)

    chunk = read(path)

    assert payloads(chunk) == [b"one", b"", b"three" * 300]
    assert (chunk.ended, chunk.lost, chunk.damage, chunk.torn_bytes) == (True, 0, [], 0)


def test_a_group_is_one_write_and_keeps_which_were_keyed(tmp_path: Path) -> None:
    segment = SegmentWriter(tmp_path / segment_name(1), SALT, 4096, 1_000.0)

    records, size = segment.append([([b"a", b"b"], False), ([b"c"], True)])

    assert (records, size) == (3, 3 * RECORD.size + 3)
    assert [record.keyed for record in read(segment.path).records] == [False, False, True]


def test_a_sealed_segment_gives_back_the_space_it_did_not_use(tmp_path: Path) -> None:
    path, end = written(tmp_path, [b"one"], sealed=True, size=1 << 20)

    assert path.stat().st_size == end + RECORD.size


def test_a_segment_without_records_leaves_no_file(tmp_path: Path) -> None:
    segment = SegmentWriter(tmp_path / segment_name(1), SALT, 4096, 1_000.0)

    segment.seal()

    assert segment_numbers(tmp_path) == []


def test_a_tail_torn_at_any_byte_is_cut_and_the_rest_is_kept(tmp_path: Path) -> None:
    path, end = written(tmp_path, [b"first", b"second", b"last one"])
    whole = path.read_bytes()
    last = end - RECORD.size - len(b"last one")
    for length in range(last, end):
        path.write_bytes(whole[:length])

        chunk = read(path)

        assert payloads(chunk) == [b"first", b"second"], length
        assert chunk.ended
        assert chunk.lost == 0


def test_a_tail_torn_within_space_taken_in_advance_is_cut_too(tmp_path: Path) -> None:
    path, end = written(tmp_path, [b"first", b"second", b"last one"])
    whole = path.read_bytes()
    last = end - RECORD.size - len(b"last one")
    for length in range(last, end):
        path.write_bytes(whole[:length] + bytes(len(whole) - length))

        chunk = read(path)

        assert payloads(chunk)[:2] == [b"first", b"second"], length
        assert len(payloads(chunk)) == 2 or length == end
        assert chunk.ended


def test_every_flipped_byte_of_a_record_costs_that_record_and_no_other(tmp_path: Path) -> None:
    path, end = written(tmp_path, [b"first", b"second", b"third"], sealed=True)
    whole = bytearray(path.read_bytes())
    start = HEADER.size + RECORD.size + len(b"first")
    for position in range(start, start + RECORD.size + len(b"second")):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)

        chunk = read(path)

        assert payloads(chunk) == [b"first", b"third"], position
        assert chunk.lost == 1
        assert chunk.damage == [bytes(damaged[start : start + RECORD.size + len(b"second")])]
    assert end < len(whole)


def test_damage_to_the_last_record_of_a_sealed_segment_is_counted(tmp_path: Path) -> None:
    path, end = written(tmp_path, [b"first", b"second"], sealed=True)
    damaged = bytearray(path.read_bytes())
    damaged[end - 1] ^= 1
    path.write_bytes(damaged)

    chunk = read(path)

    assert (payloads(chunk), chunk.lost, chunk.ended) == ([b"first"], 1, True)


def test_payloads_that_look_like_records_do_not_mislead(tmp_path: Path) -> None:
    mark = SALT.to_bytes(4, "little")
    path, _ = written(tmp_path, [b"first", mark * 40, b"third"], sealed=True, size=1 << 16)
    damaged = bytearray(path.read_bytes())
    damaged[HEADER.size + RECORD.size + len(b"first")] ^= 1
    path.write_bytes(damaged)

    chunk = read(path)

    assert (payloads(chunk), chunk.lost) == ([b"first", b"third"], 1)


def test_a_reader_waits_for_a_writer_at_work_and_goes_on_from_there(tmp_path: Path) -> None:
    segment = SegmentWriter(tmp_path / segment_name(1), SALT, 4096, 1_000.0)
    segment.append([([b"one"], False)])
    reader = SegmentReader(segment.path)

    first = reader.read(None, whole=False)
    nothing = reader.read(None, whole=False)
    segment.append([([b"two"], False)])
    second = reader.read(None, whole=False)
    segment.seal()
    last = reader.read(None, whole=False)

    assert [payloads(chunk) for chunk in (first, nothing, second, last)] == [[b"one"], [], [b"two"], []]
    assert [chunk.ended for chunk in (first, nothing, second, last)] == [False, False, False, True]


def test_nothing_is_read_beyond_the_end_that_is_on_the_disk(tmp_path: Path) -> None:
    segment = SegmentWriter(tmp_path / segment_name(1), SALT, 4096, 1_000.0)
    segment.append([([b"one"], False)])
    end = segment.end
    segment.append([([b"two"], False)])

    assert payloads(read(segment.path, end)) == [b"one"]


def test_reads_are_bounded_and_resume_at_an_offset(tmp_path: Path) -> None:
    path, _ = written(tmp_path, [b"%03d" % number for number in range(250)], sealed=True)
    reader = SegmentReader(path)

    first = reader.read(None, whole=True, max_records=100)
    resumed = SegmentReader(path, reader.offset, reader.index)
    rest = resumed.read(None, whole=True, max_records=1_000)

    assert payloads(first) == [b"%03d" % number for number in range(100)]
    assert payloads(rest) == [b"%03d" % number for number in range(100, 250)]
    assert (first.ended, rest.ended, resumed.index) == (False, True, 250)


def test_a_record_larger_than_a_block_is_read(tmp_path: Path) -> None:
    large = os.urandom(3 << 20)
    path, _ = written(tmp_path, [b"small", large, b"small"], sealed=True)

    assert payloads(read(path)) == [b"small", large, b"small"]


def test_one_record_is_found_by_its_offset(tmp_path: Path) -> None:
    path, _ = written(tmp_path, [b"one", b"two"])
    reader = SegmentReader(path)
    offsets = [record.offset for record in reader.read(None, whole=True).records]

    assert [reader.payload(offset) for offset in offsets] == [b"one", b"two"]
    with pytest.raises(ValueError, match="no record"):
        reader.payload(offsets[1] + 1)


@pytest.mark.parametrize("content", [b"", b"CHURNJ1\n", bytes(64), b"something else entirely, of some length"])
def test_a_file_that_is_no_segment_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / segment_name(1)
    path.write_bytes(content)

    with pytest.raises(ValueError, match="not a journal segment"):
        SegmentReader(path)


def test_a_large_record_is_read_while_the_writer_is_at_work(tmp_path: Path) -> None:
    segment = SegmentWriter(tmp_path / segment_name(1), SALT, 1 << 20, 1_000.0)
    large = os.urandom(200_000)
    segment.append([([b"small", large], False)])
    reader = SegmentReader(segment.path)

    assert payloads(reader.read(None, whole=False)) == [b"small", large]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_damaged_no_record_is_made_up_and_none_vanishes_uncounted(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    original = [dice.randbytes(dice.randrange(300)) + b"%d" % number for number in range(60)]
    path, end = written(tmp_path, original, sealed=True)
    whole = path.read_bytes()
    for _ in range(20):
        damaged = bytearray(whole)
        for _ in range(dice.randrange(1, 4)):
            position, length = dice.randrange(HEADER.size, end), dice.choice([1, 2, 16, 400])
            stop = min(end, position + length)  # the end mark stays: it is what says how many there were
            damaged[position:stop] = dice.choice([bytes(stop - position), dice.randbytes(stop - position)])
        path.write_bytes(damaged)

        chunk = read(path)

        found = iter(original)
        assert all(payload in found for payload in payloads(chunk))
        assert len(chunk.records) + chunk.lost == len(original)
        assert chunk.ended
