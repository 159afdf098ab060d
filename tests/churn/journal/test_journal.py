"""The journal's promise: what `append` returned from is on the disk, and what it refused is not."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from churn.errors import JournalFull
from churn.journal import Journal, JournalStats, host_stats
from churn.journal.segment import SegmentReader, segment_name, segment_numbers


def on_disk(journal: Journal) -> list[bytes]:
    """Every record in the journal's own folder, in order, read as after a crash."""
    found = []
    for number in segment_numbers(journal.folder.path):
        reader = SegmentReader(journal.folder.path / segment_name(number))
        found += [record.payload for record in reader.read(None, whole=True, max_records=1_000_000).records]
        reader.close()
    return found


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """As if the disk were full: no file of this process may grow beyond `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class Turned:
    """A clock that the test turns, in seconds."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def test_an_appended_record_is_on_the_disk(tmp_path: Path) -> None:
    journal = Journal(tmp_path)

    journal.append([b"one"])
    journal.append([b"two", b"three"], keyed=True)

    assert on_disk(journal) == [b"one", b"two", b"three"]
    stats = journal.stats()
    assert (stats.accepted, stats.shipped, stats.waiting, stats.rejected) == (3, 0, 3, {})


def test_appending_nothing_writes_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path)

    journal.append([])

    assert segment_numbers(journal.folder.path) == []


def test_many_threads_append_at_once_and_each_keeps_its_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=20_000)

    def append(thread: int) -> None:
        for number in range(100):
            journal.append([b"%02d-%03d" % (thread, number)])

    threads = [threading.Thread(target=append, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    found = on_disk(journal)
    assert len(found) == 1_600
    for number in range(16):
        mine = [record for record in found if record.startswith(b"%02d-" % number)]
        assert mine == sorted(mine)
    assert journal.stats().accepted == 1_600
    assert len(segment_numbers(journal.folder.path)) > 1


def test_a_lone_thread_does_not_wait_for_company(tmp_path: Path) -> None:
    journal = Journal(tmp_path, gather_seconds=5.0)

    started = time.monotonic()
    for number in range(20):
        journal.append([b"%d" % number])

    assert time.monotonic() - started < 5.0


def test_a_full_disk_refuses_and_nothing_of_it_is_kept(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append([b"before"])

    with largest_file(64), pytest.raises(JournalFull, match="file size limit"):
        journal.append([b"x" * 200])

    assert on_disk(journal) == [b"before"]
    assert journal.stats().accepted == 1


def test_the_journal_recovers_by_itself_when_there_is_room_again(tmp_path: Path) -> None:
    monotonic = Turned(100.0)
    journal = Journal(tmp_path, monotonic=monotonic)
    journal.append([b"before"])
    with largest_file(64), pytest.raises(JournalFull):
        journal.append([b"x" * 200])

    with pytest.raises(JournalFull):  # at once, without asking the disk again so soon
        journal.append([b"too soon"])
    monotonic.now += 0.2
    journal.append([b"after"])

    assert on_disk(journal) == [b"before", b"after"]


def test_a_disk_that_is_full_from_the_start_leaves_no_files_behind(tmp_path: Path) -> None:
    journal = Journal(tmp_path, monotonic=time.monotonic)

    with largest_file(8), pytest.raises(JournalFull):
        journal.append([b"one"])

    assert segment_numbers(journal.folder.path) == []


def test_every_thread_of_a_refused_group_is_told(tmp_path: Path) -> None:
    journal = Journal(tmp_path, gather_seconds=0.0)
    refused: list[str] = []

    def append(number: int) -> None:
        try:
            journal.append([b"x" * 300])
        except JournalFull as error:
            refused.append(str(error))

    with largest_file(128):
        threads = [threading.Thread(target=append, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert len(refused) == 8
    assert on_disk(journal) == []


def test_a_backlog_at_its_limit_refuses_and_says_why(tmp_path: Path) -> None:
    journal = Journal(tmp_path, max_waiting_bytes=1_000)
    journal.append([b"x" * 900])

    with pytest.raises(JournalFull, match="JOURNAL_MAX_BYTES=1000"):
        journal.append([b"x" * 100])

    assert journal.stats().accepted == 1


def test_a_folder_that_cannot_be_made_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(JournalFull, match="file"):
        Journal(tmp_path / "file" / "journal")


def test_a_closed_journal_refuses(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.close()

    with pytest.raises(JournalFull, match="closed"):
        journal.append([b"late"])


def test_an_empty_journal_leaves_no_folder_when_closed(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    folder = journal.folder.path

    journal.close()
    journal.close()

    assert not folder.exists()


def test_what_waits_stays_when_closed_and_all_can_count_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append([b"one", b"two"])
    journal.close()

    stats = host_stats(tmp_path, time.monotonic())

    assert (stats.accepted, stats.waiting, stats.shipped, stats.folders) == (2, 2, 0, 1)
    assert on_disk(journal) == [b"one", b"two"]


def test_two_journals_in_one_folder_keep_apart_and_are_counted_together(tmp_path: Path) -> None:
    one, two = Journal(tmp_path), Journal(tmp_path)
    one.append([b"1"])
    two.append([b"2", b"3"])

    stats = host_stats(tmp_path, time.monotonic())

    assert on_disk(one) == [b"1"]
    assert on_disk(two) == [b"2", b"3"]
    assert (stats.accepted, stats.waiting, stats.folders) == (3, 3, 2)
    assert stats.waiting_bytes == one.stats().waiting_bytes + two.stats().waiting_bytes


def test_the_age_of_the_oldest_goes_by_the_monotonic_clock_whatever_the_calendar_does(tmp_path: Path) -> None:
    calendar, monotonic = Turned(1_800_000_000.0), Turned(50.0)
    journal = Journal(tmp_path, clock=calendar, monotonic=monotonic)

    journal.append([b"one"])
    calendar.now -= 86_400
    monotonic.now += 7
    journal.append([b"two"])

    assert journal.stats().oldest_seconds == 7.0
    assert on_disk(journal) == [b"one", b"two"]


def test_an_empty_journal_has_no_age(tmp_path: Path) -> None:
    assert Journal(tmp_path).stats() == JournalStats(folders=1)
    assert host_stats(tmp_path / "nowhere", 0.0) == JournalStats()
