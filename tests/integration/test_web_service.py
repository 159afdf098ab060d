"""The real service: workers killed under load, models swapped, a store away, and what is told at the start."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from churn.bundle import Bundle
from churn.store import open_store
from tests.fake_mlflow import FakeMlflow
from tests.fakes import make_bundle, random_customers, records
from tests.services import free_port
from tests.tcp_proxy import Proxy
from tests.web_process import Senders, WebProcess, eventually, fill_cache, is_running

pytestmark = pytest.mark.integration

OUTAGE_SECONDS = float(os.environ.get("OUTAGE_SECONDS", "6"))
KILLS = int(os.environ.get("KILLS", "20"))


@pytest.fixture
def home(tmp_path: Path, bundle: Bundle) -> Path:
    fill_cache(tmp_path / "cache", bundle)
    return tmp_path


@pytest.fixture(scope="module")
def customers(bundle: Bundle) -> list[dict[str, Any]]:
    return records(random_customers(bundle.contract, 200, seed=8), bundle.contract)


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Another model of the same contract."""
    return make_bundle(tmp_path_factory.mktemp("newcomer") / "bundle", run_id="b" * 32, seed=1)


@pytest.fixture
def mlflow() -> Iterator[FakeMlflow]:
    fake = FakeMlflow()
    yield fake
    fake.close()


def stored_ids(home: Path, expected: set[str]) -> Counter[str]:
    """The ids in the store, once all that are expected have come or time is up."""
    store = open_store(f"sqlite:///{home / 'store.db'}")

    def ids() -> Counter[str]:
        return Counter(dict.fromkeys(store.get_many(sorted(expected)), 1))

    eventually(lambda: len(ids()) == len(expected))
    found = ids()
    store.close()
    return found


def test_an_answer_is_logged_once_and_counted_by_all_workers(
    home: Path, bundle: Bundle, customers: list[dict[str, Any]]
) -> None:
    with WebProcess(home, bundle.run_id) as web:
        answers = [web.post("/predict", customer)[1] for customer in customers[:40]]
        answers += web.post("/predict", customers)[1]
        ids = {answer["prediction_id"] for answer in answers}

        assert len(ids) == 240
        assert len(stored_ids(home, ids)) == 240
        assert eventually(lambda: web.metric("churnwatch_predictions_total") == 240, 10)
        assert eventually(lambda: web.metric("churnwatch_journal_stored_total") == 240, 10)
        assert web.metric("churnwatch_journal_accepted_total") == 240
        assert eventually(lambda: web.metric("churnwatch_model_info") == 2, 10)  # one starts later
        assert json.loads(web.get("/model")[1])["model_run_id"] == bundle.run_id


def test_workers_killed_under_load_lose_no_answer(home: Path, bundle: Bundle, customers: list[dict[str, Any]]) -> None:
    choose = random.Random(5)
    killed: set[int] = set()
    with WebProcess(home, bundle.run_id) as web:
        with Senders(web.port, customers) as senders:
            for _ in range(KILLS):
                workers = eventually(lambda: _two_alive(web, killed))
                answered = len(senders.answers)
                eventually(lambda before=answered: len(senders.answers) > before + choose.randrange(20, 200))
                victim = choose.choice(workers)
                os.kill(victim, signal.SIGKILL)
                killed.add(victim)
        ids = [answer["prediction_id"] for answer in senders.answers]
        found = stored_ids(home, set(ids))

        assert senders.refusals == []
        assert len(set(ids)) == len(ids)
        assert len(found) == len(ids)
        assert eventually(web.is_ready)  # the last one killed may have been the only one that served
        assert eventually(lambda: web.metric("churnwatch_journal_waiting") == 0)
        counts = [web.metric(f"churnwatch_journal_{name}_total") for name in ("accepted", "stored", "rejected")]
        assert counts[0] == counts[1] + counts[2]
        assert counts[0] >= len(ids)


def _two_alive(web: WebProcess, killed: set[int]) -> list[int]:
    alive = [pid for pid in web.workers() if pid not in killed]
    return alive if len(alive) == 2 else []


def test_an_orderly_end_leaves_nothing_behind(home: Path, bundle: Bundle, customers: list[dict[str, Any]]) -> None:
    with WebProcess(home, bundle.run_id) as web:
        with Senders(web.port, customers) as senders:
            eventually(lambda: len(senders.answers) > 500)
            workers = web.workers()
            code = web.stop()
        ids = {answer["prediction_id"] for answer in senders.answers}
    store = open_store(f"sqlite:///{home / 'store.db'}")

    assert code == 0
    assert len(store.get_many(sorted(ids))) == len(ids)
    assert not any(is_running(pid) for pid in workers)
    assert senders.refusals == []
    assert list((home / "journal").glob("worker-*")) == []
    store.close()


def test_workers_end_with_a_service_that_was_killed(
    home: Path, bundle: Bundle, customers: list[dict[str, Any]]
) -> None:
    with WebProcess(home, bundle.run_id) as web:
        answers = web.post("/predict", customers)[1]
        workers = web.workers()
        os.kill(web.process.pid, signal.SIGKILL)

        assert eventually(lambda: not any(is_running(pid) for pid in workers), 20)
        assert len(stored_ids(home, {answer["prediction_id"] for answer in answers})) == len(answers)


def test_two_services_share_a_journal_folder(home: Path, bundle: Bundle, customers: list[dict[str, Any]]) -> None:
    with WebProcess(home, bundle.run_id, WEB_WORKERS="1") as one, WebProcess(home, bundle.run_id) as two:
        with Senders(one.port, customers, 2) as to_one, Senders(two.port, customers, 2) as to_two:
            eventually(lambda: min(len(to_one.answers), len(to_two.answers)) > 200)
            two.process.kill()
            for pid in two.workers():
                os.kill(pid, signal.SIGKILL)
        ids = {answer["prediction_id"] for answer in (*to_one.answers, *to_two.answers)}

        assert len(stored_ids(home, ids)) == len(ids)


def test_a_retry_after_a_restart_gets_the_first_answer(
    home: Path, bundle: Bundle, customers: list[dict[str, Any]]
) -> None:
    key = {"Idempotency-Key": "order-1"}
    with WebProcess(home, bundle.run_id) as web:
        first = web.post("/predict", customers[0], **key)
        web.stop(signal.SIGKILL)
    with WebProcess(home, bundle.run_id) as web:
        assert {json.dumps(web.post("/predict", customers[0], **key)) for _ in range(6)} == {json.dumps(first)}


def test_a_model_is_swapped_under_load_without_a_failed_request(
    tmp_path: Path, bundle: Bundle, newcomer: Bundle, customers: list[dict[str, Any]], mlflow: FakeMlflow
) -> None:
    mlflow.register(bundle, "champion")
    mlflow.register(newcomer)
    with WebProcess(tmp_path, "champion", MLFLOW_TRACKING_URI=mlflow.url, ALIAS_POLL_SECONDS="0.1") as web:
        with Senders(web.port, customers, 4, pause=0.015) as senders:
            eventually(lambda: len(senders.answers) > 200)
            mlflow.register(newcomer, "champion")
            eventually(lambda: web.metric("churnwatch_model_swaps_total") == 2)
            swapped = len(senders.answers)
            eventually(lambda: len(senders.answers) > swapped + 200)
        runs = [answer["model_run_id"] for answer in senders.answers]

        assert (senders.refusals, senders.cut) == ([], 0)
        assert set(runs[:200]) == {bundle.run_id}
        assert set(runs[swapped + 10 :]) == {newcomer.run_id}
        model = json.loads(web.get("/model")[1])
        assert (model["model_run_id"], model["reason"]) == (newcomer.run_id, "RUN_ID=champion led to this run")


def test_a_newcomer_with_a_flipped_bit_is_refused_and_the_old_model_serves_on(
    tmp_path: Path, bundle: Bundle, newcomer: Bundle, customers: list[dict[str, Any]], mlflow: FakeMlflow
) -> None:
    mlflow.register(bundle, "champion")
    with WebProcess(tmp_path, "champion", MLFLOW_TRACKING_URI=mlflow.url, ALIAS_POLL_SECONDS="0.1") as web:
        mlflow.damage(newcomer, "model.ubj")
        mlflow.register(newcomer, "champion")

        assert eventually(lambda: web.metric("churnwatch_model_refused") == 2)
        assert web.post("/predict", customers[0])[1]["model_run_id"] == bundle.run_id
        refused = eventually(lambda: json.loads(web.get("/model")[1])["refused"])
        assert refused["model_run_id"] == newcomer.run_id
        assert "model.ubj has sha256" in refused["reason"]
        assert json.loads(web.get("/ready")[1])["ready"] is True

        mlflow.aliases["champion"] = bundle.run_id
        assert eventually(lambda: web.metric("churnwatch_model_refused") == 0)


def test_a_worker_killed_after_a_swap_comes_back_with_the_new_model(
    tmp_path: Path, bundle: Bundle, newcomer: Bundle, mlflow: FakeMlflow
) -> None:
    mlflow.register(bundle, "champion")
    with WebProcess(tmp_path, "champion", MLFLOW_TRACKING_URI=mlflow.url, ALIAS_POLL_SECONDS="60") as web:
        mlflow.register(newcomer, "champion")
        for pid in web.workers():
            os.kill(pid, signal.SIGKILL)

        assert eventually(lambda: _run_id(web) == newcomer.run_id)


def _run_id(web: WebProcess) -> str | None:
    try:
        return str(json.loads(web.get("/model")[1])["model_run_id"])
    except OSError:
        return None


def test_while_the_store_is_away_answers_go_on_and_then_it_gets_them_all(
    home: Path, bundle: Bundle, customers: list[dict[str, Any]]
) -> None:
    """The store's file is a folder for a while: nothing can be opened there."""
    (home / "store.db").mkdir()
    with WebProcess(home, bundle.run_id) as web:
        with Senders(web.port, customers, 2, pause=0.01) as senders:
            eventually(lambda: len(senders.answers) > 300)
            ready = json.loads(web.get("/ready")[1])
            waiting = web.metric("churnwatch_journal_waiting")
            (home / "store.db").rmdir()
        ids = {answer["prediction_id"] for answer in senders.answers}

        assert senders.refusals == []
        assert (ready["ready"], ready["store"]["ok"]) == (True, False)
        assert waiting > 200
        assert len(stored_ids(home, ids)) == len(ids)


@pytest.fixture
def mongodb() -> Iterator[tuple[Proxy, str]]:
    """A proxy in front of MongoDB, and an address of a database of our own through it."""
    address = os.environ.get("MONGODB_URI")
    if not address:
        pytest.skip("MONGODB_URI is not set: no MongoDB to cut off")
    from pymongo import MongoClient

    host, _, port = address.removeprefix("mongodb://").strip("/").partition(":")
    proxy, name = Proxy(host, int(port or 27017)), f"churnwatch_test_{uuid.uuid4().hex[:8]}"
    yield proxy, f"mongodb://127.0.0.1:{proxy.port}/{name}?directConnection=true"
    proxy.close()
    with MongoClient[dict[str, Any]](address) as client:
        client.drop_database(name)


def test_an_outage_of_mongodb_costs_no_request_and_no_record(
    home: Path, bundle: Bundle, customers: list[dict[str, Any]], mongodb: tuple[Proxy, str]
) -> None:
    proxy, address = mongodb
    with WebProcess(home, bundle.run_id, STORE_URL=address, STORE_TIMEOUT_SECONDS="15") as web:
        with Senders(web.port, customers, 4, pause=0.02) as senders:
            time.sleep(OUTAGE_SECONDS / 4)
            before = len(senders.seconds)
            proxy.cut()
            time.sleep(OUTAGE_SECONDS)
            during = len(senders.seconds)
            waiting = web.metric("churnwatch_journal_waiting")
            proxy.is_up = True
            drained = eventually(lambda: web.metric("churnwatch_journal_waiting") < waiting / 10, OUTAGE_SECONDS + 10)
        ids = [answer["prediction_id"] for answer in senders.answers]
        assert eventually(lambda: web.metric("churnwatch_journal_waiting") == 0)
        store = open_store(address)
        found = store.get_many(ids)
        store.close()

    assert (senders.refusals, senders.cut) == ([], 0)
    assert waiting > (during - before) / 2
    assert drained
    assert len(found) == len(set(ids)) == len(ids)
    quiet, outage = (
        1e3 * sorted(part)[int(0.99 * len(part))] for part in (senders.seconds[:before], senders.seconds[before:during])
    )
    print(f"p99 {quiet:.1f} ms before, {outage:.1f} ms during {OUTAGE_SECONDS:.0f} s without a store")


def test_a_journal_at_its_limit_answers_503_and_recovers_by_itself(
    home: Path, bundle: Bundle, customers: list[dict[str, Any]]
) -> None:
    (home / "store.db").mkdir()
    with WebProcess(home, bundle.run_id, JOURNAL_MAX_BYTES="50000", WEB_WORKERS="1") as web:
        answers = [web.post("/predict", customer) for customer in customers]
        given = {answer["prediction_id"] for status, answer in answers if status == 200}
        refused = [answer for status, answer in answers if status == 503]

        assert 20 < len(given) < 100
        assert len(given) + len(refused) == len(answers)
        assert refused[0]["type"] == "urn:churnwatch:problem:journal-full"
        (home / "store.db").rmdir()
        assert eventually(lambda: web.post("/predict", customers[0])[0] == 200)
        assert len(stored_ids(home, given)) == len(given)


def test_a_full_disk_answers_503_and_is_over_when_there_is_room_again(
    home: Path, bundle: Bundle, customers: list[dict[str, Any]]
) -> None:
    """A limit on file sizes stands for the disk: it can be set and lifted in a running process."""
    with WebProcess(home, bundle.run_id, WEB_WORKERS="1") as web:
        worker = web.workers()[0]
        given = {web.post("/predict", customer)[1]["prediction_id"] for customer in customers[:20]}
        segment_bytes = max(path.stat().st_size for path in (home / "journal").glob("worker-*/segment-*"))
        _, most = resource.prlimit(worker, resource.RLIMIT_FSIZE)
        resource.prlimit(worker, resource.RLIMIT_FSIZE, (4_096, most))
        refused = [web.post("/predict", customer) for customer in customers[:20]]
        unready = web.get("/ready")
        resource.prlimit(worker, resource.RLIMIT_FSIZE, (most, most))

        assert segment_bytes > 4_096
        assert {status for status, _ in refused} == {503}, refused
        assert {problem["type"] for _, problem in refused} == {"urn:churnwatch:problem:journal-full"}
        assert unready[0] == 503
        assert "file size limit" in json.loads(unready[1])["journal"]["reason"]
        assert eventually(web.is_ready)
        assert eventually(lambda: web.post("/predict", customers[0])[0] == 200)
        assert len(stored_ids(home, given)) == len(given)
        counts = {name: web.metric(f"churnwatch_journal_{name}") for name in ("accepted_total", "waiting")}
        assert eventually(lambda: web.metric("churnwatch_journal_stored_total") == counts["accepted_total"])


def test_a_serving_process_is_small_and_carries_no_table_library(home: Path, bundle: Bundle) -> None:
    started = time.monotonic()
    with WebProcess(home, bundle.run_id) as web:
        seconds = time.monotonic() - started
        for pid in web.workers():
            resident_mb = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
            mapped = Path(f"/proc/{pid}/maps").read_text()

            assert resident_mb < 200
            for library in ("pandas", "pyarrow", "scipy", "sklearn", "mlflow", "evidently"):
                assert f"/{library}/" not in mapped
    print(f"ready after {seconds:.1f} s, {resident_mb:.0f} MB a worker")


def run(home: Path, run_id: str, **environment: str) -> tuple[int, str]:
    settings = {"CHURNWATCH_HOME": str(home), "RUN_ID": run_id, "WEB_PORT": str(free_port())}
    away = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}"}
    ended = subprocess.run(
        [sys.executable, "-m", "web_service"],
        env=os.environ | settings | away | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ended.returncode, ended.stderr.strip()


def test_a_port_in_use_is_told_in_one_sentence(home: Path, bundle: Bundle) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, told = run(home, bundle.run_id, WEB_PORT=str(port))

    assert code == 1
    assert told == (
        f"error: WEB_PORT={port}: 127.0.0.1:{port} is in use; stop what uses it, or set WEB_PORT or WEB_HOST"
    )


def test_a_run_that_nobody_knows_is_told_in_one_sentence(tmp_path: Path, mlflow: FakeMlflow) -> None:
    code, told = run(tmp_path, "f" * 32, MLFLOW_TRACKING_URI=mlflow.url)

    assert code == 1
    assert told.startswith(f"error: RUN_ID={'f' * 32}: no model of that run in {mlflow.url}; copy a run id")
    assert len(told.splitlines()) == 1


def test_no_run_at_all_is_told_in_one_sentence(tmp_path: Path) -> None:
    code, told = run(tmp_path, "")

    assert code == 1
    assert told.startswith("error: RUN_ID=: expected an MLflow run id")


def test_an_altered_bundle_is_told_in_one_sentence(home: Path, bundle: Bundle) -> None:
    calibration = home / "cache" / "bundles" / bundle.digest / "calibration.json"
    calibration.write_text(calibration.read_text().replace("platt", "plott"))

    code, told = run(home, bundle.run_id)

    assert code == 1
    assert "calibration.json has sha256" in told


def test_a_wrong_setting_is_told_in_one_sentence(home: Path, bundle: Bundle) -> None:
    code, told = run(home, bundle.run_id, WEB_WORKERS="many")

    assert code == 1
    assert told.startswith("error: WEB_WORKERS=many: expected")


def test_a_journal_folder_that_cannot_be_written_is_told_before_a_port_is_bound(home: Path, bundle: Bundle) -> None:
    (home / "journal").write_text("a file in the folder's place")

    code, told = run(home, bundle.run_id)

    assert code == 1
    assert f"the journal {home / 'journal'} cannot take the record" in told
    assert len(told.splitlines()) == 1
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def moved_clock(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """The file that says by how many seconds the calendar's clock is moved, and the environment that heeds it."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler: the clock cannot be moved")
    library, file = tmp_path / "moved_clock.so", tmp_path / "moved_clock_seconds"
    source = Path(__file__).parents[1] / "moved_clock.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True)
    file.write_text("0")
    return file, {"LD_PRELOAD": str(library), "MOVED_CLOCK_FILE": str(file)}


def test_a_clock_that_jumps_back_and_ahead_loses_nothing(
    home: Path, bundle: Bundle, customers: list[dict[str, Any]], moved_clock: tuple[Path, dict[str, str]]
) -> None:
    """The calendar's clock, under load: an hour back, then two days ahead. The monotonic clock goes on, as it does."""
    clock, environment = moved_clock
    with WebProcess(home, bundle.run_id, **environment) as web:
        with Senders(web.port, customers, 4, pause=0.005) as senders:
            for jump in ("-3600", "172800", "0"):
                answered = len(senders.answers)
                eventually(lambda before=answered: len(senders.answers) > before + 150)
                clock.write_text(jump)
            answered = len(senders.answers)
            eventually(lambda: len(senders.answers) > answered + 150)
            oldest = web.metric("churnwatch_journal_oldest_seconds")
        ids = [answer["prediction_id"] for answer in senders.answers]
        found = stored_ids(home, set(ids))
        assert eventually(lambda: web.metric("churnwatch_journal_waiting") == 0)

    days = {answer["created_at"][:10] for answer in senders.answers}
    assert (senders.refusals, senders.cut) == ([], 0)
    assert len(days) >= 2, "the service did not see the clock jump"
    assert len(found) == len(set(ids)) == len(ids)
    assert oldest < 60
