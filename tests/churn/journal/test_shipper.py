"""The shipper: every accepted record reaches the store once, or is rejected and counted."""

from __future__ import annotations

import base64
import shutil
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from churn.errors import FieldProblem, InvalidInput, JournalFull, StoreUnavailable
from churn.journal import Journal, Shipper, host_stats
from churn.journal.segment import segment_numbers
from churn.prediction import Prediction, to_json
from churn.store.interface import Saved


class MemoryStore:
    """Keeps predictions by id. `down` refuses all; an id that starts with a word of `refuses` is never taken."""

    def __init__(self, refuses: Sequence[str] = ()) -> None:
        self.kept: dict[str, Prediction] = {}
        self.batches: list[int] = []
        self.refuses = tuple(refuses)
        self.down = False

    def save(self, predictions: Sequence[Prediction]) -> Saved:
        if self.down:
            raise StoreUnavailable("the store is down")
        if any(prediction.prediction_id.startswith(self.refuses) for prediction in predictions if self.refuses):
            raise InvalidInput([FieldProblem("prediction", "poison", "a record that can be kept")])
        before = len(self.kept)
        for prediction in predictions:
            self.kept.setdefault(prediction.prediction_id, prediction)
        self.batches.append(len(predictions))
        return Saved(stored=len(self.kept) - before, repeated=len(predictions) - len(self.kept) + before)


def prediction(name: str) -> Prediction:
    return Prediction(
        prediction_id=name,
        created_at=datetime(2026, 1, 31, tzinfo=UTC),
        contract="c",
        contract_hash="h",
        model_run_id="r",
        route="http",
        features={"age": 41},
        churn_probability=0.1,
        churn=False,
        threshold=0.5,
        latency_seconds=0.001,
    )


def append(journal: Journal, *names: str) -> None:
    journal.append([to_json(prediction(name)) for name in names])


def abandon(journal: Journal) -> None:
    """As a killed process leaves it: unsealed, unshipped, its lock gone."""
    journal.folder.release()


def drain(shipper: Shipper) -> None:
    while shipper.ship_once():
        pass


def test_records_go_to_the_store_and_are_counted(tmp_path: Path) -> None:
    journal, store = Journal(tmp_path), MemoryStore()
    shipper = Shipper(journal, store)
    append(journal, "a", "b")

    drain(shipper)

    assert list(store.kept.values()) == [prediction("a"), prediction("b")]
    stats = journal.stats()
    assert (stats.accepted, stats.shipped, stats.repeated, stats.waiting, stats.waiting_bytes) == (2, 2, 0, 0, 0)
    assert host_stats(tmp_path, time.monotonic()) == stats


def test_a_segment_is_deleted_once_all_of_it_is_in_the_store(tmp_path: Path) -> None:
    journal, store = Journal(tmp_path, segment_bytes=1_000), MemoryStore()
    shipper = Shipper(journal, store)
    for number in range(20):
        append(journal, f"{number:02}")
    assert len(segment_numbers(journal.folder.path)) > 3

    drain(shipper)

    assert segment_numbers(journal.folder.path) == segment_numbers(journal.folder.path)[-1:]
    assert list(store.kept) == [f"{number:02}" for number in range(20)]


def test_batches_are_bounded(tmp_path: Path) -> None:
    journal, store = Journal(tmp_path), MemoryStore()
    append(journal, *(f"{number:04}" for number in range(250)))

    drain(Shipper(journal, store, batch_records=100))

    assert store.batches == [100, 100, 50]


def test_a_store_that_is_down_keeps_all_waiting_and_takes_it_later(tmp_path: Path) -> None:
    journal, store = Journal(tmp_path), MemoryStore()
    shipper = Shipper(journal, store)
    append(journal, "a", "b")
    store.down = True

    with pytest.raises(StoreUnavailable):
        shipper.ship_once()
    append(journal, "c")
    assert journal.stats().waiting == 3
    store.down = False
    drain(shipper)

    assert list(store.kept) == ["a", "b", "c"]
    assert (journal.stats().shipped, journal.stats().waiting) == (3, 0)


def test_a_repeated_id_is_shipped_and_counted_as_repeated(tmp_path: Path) -> None:
    journal, store = Journal(tmp_path), MemoryStore()
    append(journal, "a", "a", "b")

    drain(Shipper(journal, store))

    assert (journal.stats().shipped, journal.stats().repeated) == (3, 1)
    assert list(store.kept) == ["a", "b"]


def test_what_cannot_be_read_is_set_aside_with_its_reason(tmp_path: Path) -> None:
    journal, store = Journal(tmp_path), MemoryStore()
    append(journal, "a")
    journal.append([b"\xffnot json", b'{"prediction_id": 5}'])
    append(journal, "b")

    drain(Shipper(journal, store))

    assert list(store.kept) == ["a", "b"]
    stats = journal.stats()
    assert (stats.accepted, stats.shipped, stats.waiting, stats.rejected) == (4, 2, 0, {"undecodable": 2})
    lines = next((tmp_path / "rejected").iterdir()).read_text().splitlines()
    assert [base64.b64decode(msgspec.json.decode(line)["payload"]) for line in lines] == [
        b"\xffnot json",
        b'{"prediction_id": 5}',
    ]


def test_a_record_that_the_store_can_never_take_does_not_hold_up_the_others(tmp_path: Path) -> None:
    journal, store = Journal(tmp_path), MemoryStore(refuses=["poison"])
    append(journal, *(f"good-{number}" for number in range(50)), "poison-1", "good-50", "poison-2")

    drain(Shipper(journal, store))

    assert sorted(store.kept) == sorted(f"good-{number}" for number in range(51))
    stats = journal.stats()
    assert (stats.shipped, stats.waiting, stats.rejected) == (51, 0, {"refused": 2})


def test_a_damaged_record_is_counted_and_the_rest_shipped(tmp_path: Path) -> None:
    journal, store = Journal(tmp_path), MemoryStore()
    append(journal, "a")
    append(journal, "b")
    append(journal, "c")
    path = next(journal.folder.path.glob("segment-*"))
    content = bytearray(path.read_bytes())
    content[content.index(b'"prediction_id":"b"')] ^= 1
    path.write_bytes(content)

    drain(Shipper(journal, store))

    assert list(store.kept) == ["a", "c"]
    stats = journal.stats()
    assert (stats.accepted, stats.shipped, stats.waiting, stats.rejected) == (3, 2, 0, {"damaged": 1})


def test_damage_at_the_end_of_a_segment_is_counted_when_it_is_full(tmp_path: Path) -> None:
    journal, store = Journal(tmp_path, segment_bytes=700), MemoryStore()
    append(journal, "a")
    append(journal, "b")
    path = next(journal.folder.path.glob("segment-*"))
    content = bytearray(path.read_bytes())
    content[content.index(b'"prediction_id":"b"')] ^= 1
    path.write_bytes(content)
    append(journal, "c")
    append(journal, "d")

    drain(Shipper(journal, store))

    stats = journal.stats()
    assert (stats.accepted, stats.shipped + sum(stats.rejected.values()), stats.waiting) == (4, 4, 0)
    assert stats.waiting_bytes == 0
    assert "b" not in store.kept


def test_a_dead_processs_folder_is_adopted_shipped_and_removed(tmp_path: Path) -> None:
    dead, journal, store = Journal(tmp_path), Journal(tmp_path), MemoryStore()
    append(dead, "a", "b")
    abandon(dead)
    append(journal, "c")
    shipper = Shipper(journal, store)

    shipper.adopt()
    drain(shipper)

    assert sorted(store.kept) == ["a", "b", "c"]
    assert not dead.folder.path.exists()
    stats = host_stats(tmp_path, time.monotonic())
    assert (stats.accepted, stats.shipped, stats.waiting, stats.folders) == (3, 3, 0, 1)


def test_a_living_processs_folder_is_left_alone(tmp_path: Path) -> None:
    other, journal, store = Journal(tmp_path), Journal(tmp_path), MemoryStore()
    append(other, "a")
    shipper = Shipper(journal, store)

    shipper.adopt()
    drain(shipper)

    assert store.kept == {}
    assert other.stats().waiting == 1


def test_a_torn_tail_is_cut_and_never_counted(tmp_path: Path) -> None:
    dead, journal, store = Journal(tmp_path), Journal(tmp_path), MemoryStore()
    append(dead, "a")
    append(dead, "b")
    path = next(dead.folder.path.glob("segment-*"))
    whole = path.read_bytes().rstrip(b"\0")
    path.write_bytes(whole[:-5])
    abandon(dead)
    shipper = Shipper(journal, store)

    shipper.adopt()
    drain(shipper)

    assert list(store.kept) == ["a"]
    stats = host_stats(tmp_path, time.monotonic())
    assert (stats.accepted, stats.shipped, stats.waiting, stats.rejected) == (1, 1, 0, {})


def test_a_folder_half_shipped_by_the_dead_goes_on_where_it_was_and_counts_once(tmp_path: Path) -> None:
    dead, store = Journal(tmp_path, segment_bytes=500), MemoryStore()
    append(dead, *(f"{number:02}" for number in range(4)))
    append(dead, *(f"{number:02}" for number in range(4, 12)))
    Shipper(dead, store, batch_records=3).ship_once()
    abandon(dead)
    journal = Journal(tmp_path)
    shipper = Shipper(journal, store)

    shipper.adopt()
    drain(shipper)

    stats = host_stats(tmp_path, time.monotonic())
    assert (stats.accepted, stats.shipped, stats.repeated, stats.waiting) == (12, 12, 0, 0)
    assert store.batches == [3, 1, 8]


def test_a_crash_between_the_stores_answer_and_the_count_repeats_and_loses_nothing(tmp_path: Path) -> None:
    dead, store = Journal(tmp_path), MemoryStore()
    append(dead, "a", "b")
    store.save([prediction("a"), prediction("b")])  # acknowledged, and then the power went
    abandon(dead)
    shipper = Shipper(Journal(tmp_path), store)

    shipper.adopt()
    drain(shipper)

    stats = host_stats(tmp_path, time.monotonic())
    assert (stats.accepted, stats.shipped, stats.repeated, stats.waiting) == (2, 2, 2, 0)


def test_a_crash_while_a_folder_is_handed_over_counts_it_once(tmp_path: Path) -> None:
    dead, store = Journal(tmp_path), MemoryStore()
    append(dead, "a", "b")
    drain(Shipper(dead, store))
    kept = {path.name: path.read_bytes() for path in dead.folder.path.iterdir()}
    dead.close()
    folder = dead.folder.path
    folder.mkdir()  # the crash came after the root's ledger was written and before the folder was gone
    for name, content in kept.items():
        (folder / name).write_bytes(content)
    shipper = Shipper(Journal(tmp_path), store)
    assert host_stats(tmp_path, time.monotonic()).shipped == 2

    shipper.adopt()
    drain(shipper)

    assert not folder.exists()
    assert host_stats(tmp_path, time.monotonic()).accepted == 2


@pytest.mark.parametrize("content", [b"", bytes(4096), b"CHURNJ1\nxyz"])
def test_a_segment_cut_off_while_it_was_made_does_not_stand_in_the_way(tmp_path: Path, content: bytes) -> None:
    dead, journal, store = Journal(tmp_path), Journal(tmp_path), MemoryStore()
    append(dead, "a")
    (dead.folder.path / "segment-0000000002.log").write_bytes(content)
    abandon(dead)
    shipper = Shipper(journal, store)

    shipper.adopt()
    drain(shipper)

    assert list(store.kept) == ["a"]
    assert not dead.folder.path.exists()


def test_counts_live_on_when_the_service_is_restarted(tmp_path: Path) -> None:
    store = MemoryStore()
    for names in (["a", "b"], ["c"]):
        journal = Journal(tmp_path)
        Shipper(journal, store).start()
        append(journal, *names)
        journal.close(drain_seconds=10)

    stats = host_stats(tmp_path, time.monotonic())

    assert (stats.accepted, stats.shipped, stats.waiting, stats.folders) == (3, 3, 0, 0)
    assert sorted(store.kept) == ["a", "b", "c"]


def test_closing_drains_and_gives_up_at_the_deadline(tmp_path: Path) -> None:
    journal, store = Journal(tmp_path), MemoryStore()
    store.down = True
    shipper = Shipper(journal, store, retry_seconds=(0.01, 0.02))
    shipper.start()
    append(journal, "a")

    started = time.monotonic()
    journal.close(drain_seconds=0.3)

    assert 0.3 <= time.monotonic() - started < 5
    assert shipper.store_error == "the store is down"
    assert host_stats(tmp_path, time.monotonic()).waiting == 1


def test_the_thread_ships_by_itself_after_an_outage(tmp_path: Path) -> None:
    journal, store = Journal(tmp_path), MemoryStore()
    store.down = True
    Shipper(journal, store, interval_seconds=0.01, retry_seconds=(0.01, 0.02)).start()
    append(journal, "a")

    store.down = False
    deadline = time.monotonic() + 10
    while not store.kept and time.monotonic() < deadline:
        time.sleep(0.01)

    assert list(store.kept) == ["a"]
    journal.close(1)


def test_waits_grow_twofold_with_jitter_up_to_the_longest(tmp_path: Path) -> None:
    waits: list[float] = []

    def uniform(low: float, high: float) -> float:
        waits.append(high)
        return low

    journal, store = Journal(tmp_path), MemoryStore()
    shipper = Shipper(journal, store, retry_seconds=(0.2, 5.0), uniform=uniform)

    pauses = [shipper._back_off(StoreUnavailable("down")) for _ in range(8)]

    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 2.5, 2.5, 2.5]


def test_an_error_of_our_own_keeps_the_records(tmp_path: Path) -> None:
    class Broken(MemoryStore):
        def save(self, predictions: Sequence[Prediction]) -> Saved:
            raise RuntimeError("a mistake in the store")

    journal = Journal(tmp_path)
    shipper = Shipper(journal, Broken(), interval_seconds=0.01, retry_seconds=(0.01, 0.01))
    shipper.start()
    append(journal, "a")

    deadline = time.monotonic() + 10
    while shipper.store_error is None and time.monotonic() < deadline:
        time.sleep(0.01)

    assert shipper.store_error == "a mistake in the store"
    assert journal.stats().waiting == 1
    journal.close()


def test_a_folder_deleted_under_a_running_service_is_noticed_and_nothing_more_is_accepted(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    shipper = Shipper(journal, MemoryStore(), interval_seconds=0.01, retry_seconds=(0.01, 0.01))
    shipper.start()
    shutil.rmtree(journal.folder.path)

    deadline = time.monotonic() + 10
    while shipper.store_error is None and time.monotonic() < deadline:
        time.sleep(0.01)

    with pytest.raises(JournalFull, match="deleted while in use"):
        append(journal, "a")
    journal.close()
