"""A key's first answer is given again: by this worker, by another, after a restart, and with the store down."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from churn.errors import JournalFull, StoreUnavailable
from churn.journal import Idempotency, Journal, Shipper
from churn.prediction import Prediction, to_json
from churn.store import open_store


class Finds:
    """A store's `get_many` that remembers what it was asked."""

    def __init__(self, *kept: Prediction) -> None:
        self.kept = {prediction.prediction_id: prediction for prediction in kept}
        self.asked: list[list[str]] = []
        self.down = False

    def __call__(self, prediction_ids: Sequence[str]) -> Mapping[str, Prediction]:
        self.asked.append(list(prediction_ids))
        if self.down:
            raise StoreUnavailable("down")
        return {name: self.kept[name] for name in prediction_ids if name in self.kept}


def prediction(name: str, probability: float = 0.1) -> Prediction:
    return Prediction(
        prediction_id=name,
        created_at=datetime(2026, 1, 31, tzinfo=UTC),
        contract="c",
        contract_hash="h",
        model_run_id="r",
        route="http",
        features={"age": 41},
        churn_probability=probability,
        churn=False,
        threshold=0.5,
        latency_seconds=0.001,
    )


def answer(idempotency: Idempotency, journal: Journal, name: str, probability: float) -> Prediction:
    """What a door does: the first answer if there is one, else a new one, logged."""
    with idempotency.first_answers([name]) as first:
        if name not in first:
            first[name] = prediction(name, probability)
            journal.append([to_json(first[name])], keyed=True)
        return first[name]


def test_a_retry_to_the_same_worker_gets_the_first_answer_without_asking_the_store_again(tmp_path: Path) -> None:
    finds = Finds()
    journal, idempotency = Journal(tmp_path), Idempotency(tmp_path, finds)

    assert answer(idempotency, journal, "k", 0.1).churn_probability == 0.1
    assert answer(idempotency, journal, "k", 0.9).churn_probability == 0.1
    assert finds.asked == [["k"]]
    assert journal.stats().accepted == 1


def test_a_retry_to_another_worker_gets_the_first_answer(tmp_path: Path) -> None:
    one, two = Journal(tmp_path), Journal(tmp_path)

    assert answer(Idempotency(tmp_path, Finds()), one, "k", 0.1).churn_probability == 0.1
    assert answer(Idempotency(tmp_path, Finds()), two, "k", 0.9).churn_probability == 0.1
    assert two.stats().accepted == 0


def test_a_retry_after_a_crash_gets_the_first_answer_before_it_was_shipped(tmp_path: Path) -> None:
    dead = Journal(tmp_path)
    answer(Idempotency(tmp_path, Finds()), dead, "k", 0.1)
    dead.folder.release()

    assert answer(Idempotency(tmp_path, Finds()), Journal(tmp_path), "k", 0.9).churn_probability == 0.1


def test_a_retry_after_shipping_and_a_restart_gets_the_first_answer_from_the_store(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    journal = Journal(tmp_path / "journal")
    Shipper(journal, store).start()
    answer(Idempotency(tmp_path / "journal", store.get_many), journal, "k", 0.1)
    journal.close(drain_seconds=10)

    journal = Journal(tmp_path / "journal")
    again = answer(Idempotency(tmp_path / "journal", store.get_many), journal, "k", 0.9)

    assert again == prediction("k", 0.1)
    assert journal.stats().accepted == 0
    store.close()


def test_records_without_a_key_are_not_looked_up(tmp_path: Path) -> None:
    journal, idempotency = Journal(tmp_path), Idempotency(tmp_path, Finds())
    journal.append([to_json(prediction("k"))])

    with idempotency.first_answers(["k"]) as first:
        assert first == {}


def test_a_list_finds_what_was_answered_and_asks_for_the_rest_at_once(tmp_path: Path) -> None:
    finds = Finds(prediction("stored", 0.3))
    journal, idempotency = Journal(tmp_path), Idempotency(tmp_path, finds)
    journal.append([to_json(prediction("waiting", 0.2))], keyed=True)

    with idempotency.first_answers(["new", "stored", "waiting"]) as first:
        assert first == {"stored": prediction("stored", 0.3), "waiting": prediction("waiting", 0.2)}
    assert finds.asked == [["new", "stored"]]


def test_with_the_store_down_the_journals_still_answer_and_it_is_not_asked_each_time(tmp_path: Path) -> None:
    finds = Finds()
    finds.down = True
    now = [0.0]
    journal = Journal(tmp_path)
    idempotency = Idempotency(tmp_path, finds, store_retry_seconds=2.0, monotonic=lambda: now[0])

    for name in ("a", "b", "a"):
        answer(idempotency, journal, name, 0.1)
    assert finds.asked == [["a"]]
    now[0] = 2.0
    answer(idempotency, journal, "c", 0.1)

    assert finds.asked == [["a"], ["c"]]
    assert journal.stats().accepted == 3


def test_many_threads_of_two_workers_with_one_key_get_one_answer(tmp_path: Path) -> None:
    workers = [(Journal(tmp_path), Idempotency(tmp_path, Finds())) for _ in range(2)]
    answers: list[float] = []

    def ask(number: int) -> None:
        journal, idempotency = workers[number % 2]
        answers.append(answer(idempotency, journal, "k", number / 100).churn_probability)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(answers) == 16
    assert len(set(answers)) == 1
    assert sum(journal.stats().accepted for journal, _ in workers) == 1


def test_a_worker_that_hangs_on_a_key_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    one, two = Idempotency(tmp_path, Finds()), Idempotency(tmp_path, Finds(), lock_seconds=0.05)

    with one.first_answers(["k"]), pytest.raises(JournalFull, match="another worker"), two.first_answers(["k"]):
        raise AssertionError("both hold the key")

    with two.first_answers(["k"]) as first:
        assert first == {}


def test_an_answer_that_fails_leaves_the_key_free(tmp_path: Path) -> None:
    journal, idempotency = Journal(tmp_path), Idempotency(tmp_path, Finds())

    with pytest.raises(RuntimeError), idempotency.first_answers(["k"]):
        raise RuntimeError("scoring failed")

    assert answer(idempotency, journal, "k", 0.4).churn_probability == 0.4


def test_keys_are_found_across_many_segments_while_they_come_and_go(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    journal = Journal(tmp_path / "journal", segment_bytes=2_000)
    shipper = Shipper(journal, store, batch_records=5)
    idempotency = Idempotency(tmp_path / "journal", store.get_many)
    for number in range(60):
        answer(idempotency, journal, f"k-{number}", number / 100)
        if number % 7 == 0:
            shipper.ship_once()

    again = [answer(idempotency, journal, f"k-{number}", 0.99).churn_probability for number in range(60)]

    assert again == [number / 100 for number in range(60)]
    store.close()
