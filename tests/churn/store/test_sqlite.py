"""What only SQLite can get wrong: files, rights, several processes, size."""

from __future__ import annotations

import os
import resource
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from churn.errors import StoreUnavailable
from churn.prediction import Prediction
from churn.store.sqlite import SqliteStore

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
REPOSITORY = Path(__file__).resolve().parents[3]


def prediction(name: str, **features: float) -> Prediction:
    return Prediction(
        prediction_id=name,
        created_at=NOON,
        contract="c",
        contract_hash="h",
        model_run_id="r",
        route="http",
        features={"age": 41, **features},
        churn_probability=0.1,
        churn=False,
        threshold=0.5,
        latency_seconds=0.001,
    )


def test_a_file_that_is_no_database_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_text("name,age\n" * 100)

    with pytest.raises(StoreUnavailable, match="is not a SQLite file"):
        SqliteStore(tmp_path / "store.db").check()


def test_a_folder_in_place_of_the_file_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        SqliteStore(tmp_path).check()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_rights_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)

    with pytest.raises(StoreUnavailable, match="check that its folder exists and may be written"):
        SqliteStore(tmp_path / "locked" / "store.db").check()


def test_a_store_of_a_later_release_is_left_alone(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "store.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()

    with pytest.raises(StoreUnavailable, match="version 99"):
        SqliteStore(tmp_path / "store.db").check()


def test_a_store_of_an_earlier_release_gets_what_is_new_and_keeps_what_it_holds(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    store.save([prediction("a")])
    store.close()
    with closing(sqlite3.connect(tmp_path / "store.db")) as connection:
        connection.executescript("DROP TABLE transaction_lines; PRAGMA user_version = 1")

    again = SqliteStore(tmp_path / "store.db")

    assert again.count_transactions("shop") == 0
    assert again.count() == 1


def test_a_store_held_too_long_by_another_says_so_and_works_again_after(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db", timeout_seconds=0.1)
    store.check()
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(StoreUnavailable, match="held by another process"):
        store.save([prediction("a")])
    assert store.get("a") is None
    other.execute("ROLLBACK")

    assert store.save([prediction("a")]).stored == 1
    other.close()
    store.close()


def test_a_full_disk_keeps_none_of_a_batch_and_the_next_one_works(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    store.save([prediction("before")])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    try:
        with pytest.raises(StoreUnavailable):
            store.save([prediction(f"{number}", **{f"f{k}": k for k in range(50)}) for number in range(2_000)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert store.count() == 1
    assert store.save([prediction("after")]).stored == 1
    store.close()


@pytest.mark.integration
def test_new_processes_may_open_one_new_store_at_once_and_write_to_it(tmp_path: Path) -> None:
    code = (
        "import sys; from tests.churn.store import test_sqlite as t\n"
        "store = t.SqliteStore(t.Path(sys.argv[1])); store.check()\n"
        "print(sum(store.save([t.prediction(f'{sys.argv[2]}-{b}-{n}') for n in range(20)]).stored for b in range(5)))"
    )
    arguments = [sys.executable, "-c", code, str(tmp_path / "store.db")]
    processes = [
        subprocess.Popen([*arguments, str(number)], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
        for number in range(4)
    ]

    assert [process.communicate(timeout=60)[0] for process in processes] == ["100\n"] * 4
    store = SqliteStore(tmp_path / "store.db")
    assert store.count("c") == 400
    store.close()


def test_windows_counts_and_samples_are_answered_from_an_index(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    store.check()
    plans = {
        "SELECT count(*) FROM predictions WHERE contract = 'c' AND model_run_id = 'r' AND created > 1": "COVERING",
        "SELECT rowid FROM predictions WHERE contract = 'c' AND created >= 1 ORDER BY draw LIMIT 9": "COVERING INDEX",
        "SELECT body FROM predictions WHERE contract = 'c' AND created >= 1 ORDER BY created, prediction_id": (
            "predictions_by_window"
        ),
        "SELECT 1 FROM predictions WHERE contract = 'c' AND customer_id = 'a' AND created <= 1": (
            "predictions_by_customer"
        ),
    }
    connection = sqlite3.connect(tmp_path / "store.db")

    for query, expected in plans.items():
        assert expected in str(connection.execute(f"EXPLAIN QUERY PLAN {query}").fetchall()), query
    connection.close()
    store.close()


def test_a_record_that_someone_else_spoiled_does_not_break_a_window(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    store.save([prediction("a"), prediction("b")])
    connection = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    connection.execute("""UPDATE predictions SET body = '{"prediction_id": 7}' WHERE prediction_id = 'a'""")

    found = list(store.window("c", None, NOON, NOON + timedelta(hours=1)))

    assert [p.prediction_id for p in found] == ["b"]
    connection.close()
    store.close()
