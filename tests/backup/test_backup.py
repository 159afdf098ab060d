"""A backup holds what it says, a damaged one is refused, and a restore brings every record back."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest

from backup.__main__ import main
from churn.journal import Journal, Shipper
from churn.prediction import Label, Prediction, to_json
from churn.store import PredictionStore, open_store
from churn.store.interface import Customer
from simulation.stage import Stage, StageSettings, environment, start_aws
from tests.services import free_port

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
MONGODB = [pytest.param("mongodb", marks=pytest.mark.integration)] if os.environ.get("MONGODB_URI") else []


def prediction(number: int) -> Prediction:
    return Prediction(
        prediction_id=f"{number:032x}",
        created_at=NOON + timedelta(seconds=number),
        contract="c",
        contract_hash="h",
        model_run_id="a" * 32,
        route="http",
        features={"age": number, "plan": "ä" if number % 2 else None},
        churn_probability=number / 10_000,
        churn=False,
        threshold=0.5,
        latency_seconds=0.001,
        customer_id=f"customer-{number}",
    )


PREDICTIONS = [prediction(number) for number in range(2_500)]


@dataclass
class Place:
    """A machine's settings, as variables."""

    home: Path
    url: str

    def open(self) -> PredictionStore:
        store = open_store(self.url, timeout_seconds=15)
        store.check()
        return store

    def use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let commands of this process be this machine's."""
        monkeypatch.setenv("STORE_URL", self.url)
        for variable, name in {
            "JOURNAL_DIR": "journal",
            "WEB_KEYS_FILE": "keys.json",
            "REPORT_DIR": "reports",
            "EVIDENTLY_DIR": "evidently",
            "BACKUP_MLFLOW_DATABASE": "mlflow/mlflow.db",
            "BACKUP_MLFLOW_FILES": "mlflow/artifacts",
            "BACKUP_PREFECT_DATABASE": "prefect/prefect.db",
            "BACKUP_AWS_FILES": "aws",
        }.items():
            monkeypatch.setenv(variable, str(self.home / name))


@pytest.fixture(params=["sqlite", *MONGODB])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Place, Place]]:
    """Two machines: one that lives, and an empty one."""
    homes = [tmp_path / "first", tmp_path / "second"]
    if request.param == "sqlite":
        yield Place(homes[0], f"sqlite:///{homes[0] / 'store.db'}"), Place(homes[1], f"sqlite:///{homes[1]}/store.db")
        return
    from pymongo import MongoClient

    address = os.environ["MONGODB_URI"].rstrip("/")
    names = [f"churnwatch_backup_{uuid.uuid4().hex[:8]}" for _ in homes]
    yield Place(homes[0], f"{address}/{names[0]}"), Place(homes[1], f"{address}/{names[1]}")
    with MongoClient[dict[str, Any]](address) as client:
        for name in names:
            client.drop_database(name)


def live(place: Place) -> PredictionStore:
    """A store with something of every kind, keys, reports, and a database of somebody else's."""
    (place.home / "reports" / "c").mkdir(parents=True)
    store = place.open()
    store.save(PREDICTIONS)
    store.label([Label(churned=True, observed_at=NOON + timedelta(days=1), prediction_id=PREDICTIONS[7].prediction_id)])
    store.put_customers("c", [Customer("customer-1", {"age": 4}, NOON)])
    lease = store.acquire_shard("consumer", "shard-0", "me", NOON, 60)
    assert lease is not None
    store.checkpoint_shard(lease, "123", NOON)
    store.put_document("report", "c/w/r", {"rows": 3})
    (place.home / "reports" / "c" / "index.html").write_text("<html>")
    (place.home / "keys.json").write_text('{"keys": []}')
    (place.home / "mlflow" / "artifacts").mkdir(parents=True)
    (place.home / "mlflow" / "artifacts" / "model.ubj").write_bytes(bytes(range(256)) * 500)
    with closing(sqlite3.connect(place.home / "mlflow" / "mlflow.db")) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE runs (run TEXT)")
        database.executemany("INSERT INTO runs VALUES (?)", [(str(n),) for n in range(40)])
        database.commit()
    return store


def test_everything_comes_back(
    places: tuple[Place, Place], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = places
    live(first).close()

    first.use(monkeypatch)
    assert main(["make", "--to", str(tmp_path / "kept"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["parts"]["store"]["predictions"] == 2_500
    assert told["parts"]["mlflow"] == {"runs": 40}
    assert "prefect" not in told["parts"]
    assert main(["check", "--from", str(tmp_path / "kept")]) == 0

    second.use(monkeypatch)
    assert main(["restore", "--from", str(tmp_path / "kept")]) == 0

    store = second.open()
    assert list(store.window("c", None, NOON, NOON + timedelta(days=1))) == PREDICTIONS
    assert [label.churned for _, label in store.labelled("c", None, NOON, NOON + timedelta(days=1))] == [True]
    assert store.customer("c", "customer-1") == Customer("customer-1", {"age": 4}, NOON)
    assert [(state.shard_id, state.sequence_number) for state in store.shards("consumer")] == [("shard-0", "123")]
    assert store.document("report", "c/w/r") == {"rows": 3}
    assert store.save([PREDICTIONS[0], prediction(9_999)]).stored == 1
    store.close()
    for name in ("reports/c/index.html", "keys.json", "mlflow/artifacts/model.ubj"):
        assert (second.home / name).read_bytes() == (first.home / name).read_bytes()
    with closing(sqlite3.connect(second.home / "mlflow" / "mlflow.db")) as database:
        assert database.execute("SELECT count(*) FROM runs").fetchone() == (40,)


def test_a_target_with_anything_in_it_is_refused_unless_told(
    places: tuple[Place, Place], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, _ = places
    store = live(first)
    first.use(monkeypatch)
    main(["make", "--to", str(tmp_path / "kept")])
    store.save([prediction(9_999)])

    assert main(["restore", "--from", str(tmp_path / "kept")]) == 3
    assert "refused: not empty: store (" in capsys.readouterr().err
    assert store.count() == 2_501
    store.close()

    assert main(["restore", "--from", str(tmp_path / "kept"), "--replace"]) == 0
    again = first.open()
    assert again.count() == 2_500
    again.close()


@pytest.mark.parametrize("harm", ["bytes", "absent", "unfinished"])
def test_a_damaged_backup_is_refused_before_anything_is_touched(
    harm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = Place(tmp_path / "home", f"sqlite:///{tmp_path / 'home' / 'store.db'}")
    live(place).close()
    place.use(monkeypatch)
    main(["make", "--to", str(tmp_path / "kept")])
    victim = tmp_path / "kept" / "mlflow-files" / "model.ubj"
    if harm == "bytes":
        victim.write_bytes(victim.read_bytes()[:-1] + b"!")
    elif harm == "absent":
        victim.unlink()
    else:
        (tmp_path / "kept" / "manifest.json").unlink()
    store = place.open()
    store.save([prediction(9_999)])

    for command in (["check"], ["restore", "--replace"]):
        assert main([command[0], "--from", str(tmp_path / "kept"), *command[1:]]) == 1
    assert str(tmp_path / "kept") in capsys.readouterr().err
    assert store.count() == 2_501


def test_a_backup_is_made_in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(tmp_path / "home", f"sqlite:///{tmp_path / 'home' / 'store.db'}")
    place.use(monkeypatch)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "mine.txt").write_text("mine")

    assert main(["make", "--to", str(tmp_path / "kept")]) == 3
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["mine.txt"]


@pytest.mark.integration
def test_a_backup_of_a_running_system_holds_every_answer_given_before_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Place(tmp_path / "first", f"sqlite:///{tmp_path / 'first' / 'store.db'}")
    second = Place(tmp_path / "second", f"sqlite:///{tmp_path / 'second' / 'store.db'}")
    first.use(monkeypatch)
    store = first.open()
    journal = Journal(first.home / "journal")
    shipper = Shipper(journal, store)
    given, stop = [], threading.Event()

    def answer() -> None:
        for number in range(100_000):
            if stop.is_set():
                return
            journal.append([to_json(prediction(number))])
            given.append(number)

    shipper.start()
    thread = threading.Thread(target=answer)
    thread.start()
    while len(given) < 300:
        assert thread.is_alive()
    before = len(given)
    assert main(["make", "--to", str(tmp_path / "kept")]) == 0
    stop.set()
    thread.join()
    journal.close(5)
    store.close()

    second.use(monkeypatch)
    assert main(["restore", "--from", str(tmp_path / "kept")]) == 0
    restored, adopted = second.open(), Journal(second.home / "journal")
    taker = Shipper(adopted, restored)
    taker.start()
    deadline = datetime.now(UTC) + timedelta(seconds=30)
    while restored.count() < before and datetime.now(UTC) < deadline:
        threading.Event().wait(0.05)
    adopted.close(5)

    assert len(restored.get_many([prediction(number).prediction_id for number in range(before)])) == before
    restored.close()


@pytest.mark.integration
def test_objects_of_a_bucket_and_the_emulators_files_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ports = StageSettings(aws_port=free_port(), mlflow_port=free_port(), prefect_port=free_port())
    first = Place(tmp_path / "first", f"sqlite:///{tmp_path / 'first' / 'store.db'}")
    second = Place(tmp_path / "second", f"sqlite:///{tmp_path / 'second' / 'store.db'}")
    for name, value in environment(tmp_path, ports, "credit_card").items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    health = f"http://127.0.0.1:{ports.aws_port}/_ministack/health"
    first.use(monkeypatch)
    monkeypatch.setenv("BACKUP_BUCKETS", "ours")
    keys = [f"features/c/{number}/ä b.parquet" for number in range(30)]
    with Stage(first.home, os.environ) as stage:
        stage.wait_ready(start_aws(stage, ports), health)
        client = boto3.client("s3")
        client.create_bucket(Bucket="ours")
        for key in keys:
            client.put_object(Bucket="ours", Key=key, Body=key.encode())
        assert main(["make", "--to", str(tmp_path / "kept")]) == 0
        client.delete_object(Bucket="ours", Key=keys[0])
        assert main(["restore", "--from", str(tmp_path / "kept")]) == 3
    monkeypatch.setenv("BACKUP_BUCKETS", "")
    second.use(monkeypatch)
    assert main(["restore", "--from", str(tmp_path / "kept")]) == 0

    with Stage(second.home, os.environ) as stage:
        stage.wait_ready(start_aws(stage, ports), health)
        client = boto3.client("s3")
        assert [client.get_object(Bucket="ours", Key=key)["Body"].read().decode() for key in keys] == keys
        monkeypatch.setenv("BACKUP_BUCKETS", "ours")
        client.delete_object(Bucket="ours", Key=keys[3])
        assert main(["restore", "--from", str(tmp_path / "kept"), "--replace"]) == 0
        assert client.get_object(Bucket="ours", Key=keys[3])["Body"].read().decode() == keys[3]
