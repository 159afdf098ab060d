"""Tunings that are killed, cut off from MLflow, or lose a worker: real processes, real servers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from orchestration.outcome import Outcome
from orchestration.runners import open_runner
from orchestration.tunings import ALIVE_TAG, KIND_TAG, OUTCOME_TAG, PARENT_TAG, TUNING, WORKER_TAG
from tests.tcp_proxy import Proxy
from tests.training_servers import ROOT, Servers

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]
SMALL = {"FAMILIES": "xgboost,decision_tree", "FOLDS": "3"}
TRIALS = 8
LONG_AGO = "2026-01-31T12:00:00+00:00"
DEADLINE_SECONDS = 120


class Tunings:
    """What MLflow tells of tunings, and commands on a small version of features."""

    def __init__(self, servers: Servers, version: str) -> None:
        import mlflow

        self.servers, self.version = servers, version
        self.client = mlflow.MlflowClient(servers.tracking_uri)

    def begin(self, *more: str, **variables: str) -> subprocess.Popen[str]:
        given = ("tune", "--version", self.version, "--trials", str(TRIALS), "--no-progress", *more)
        return self.servers.begin(*given, **SMALL, **variables)

    def newest(self) -> str:
        """The parent run of the newest tuning; of none, an empty name."""
        experiment = self.client.get_experiment_by_name("credit_card")
        query, newest = f"tags.`{KIND_TAG}` = '{TUNING}'", ["attributes.start_time DESC"]
        found = experiment and self.client.search_runs(
            [experiment.experiment_id], query, order_by=newest, max_results=1
        )
        return str(found[0].info.run_id) if found else ""

    def trials(self, parent: str) -> list[Any]:
        experiment = self.client.get_run(parent).info.experiment_id
        return list(self.client.search_runs([experiment], f"tags.`{PARENT_TAG}` = '{parent}'"))

    def outcomes(self, parent: str) -> list[Outcome]:
        ended = [run.data.tags[OUTCOME_TAG] for run in self.trials(parent) if OUTCOME_TAG in run.data.tags]
        return sorted(map(Outcome.from_json, ended), key=lambda one: one.number)

    def begin_and_see(self, count: int, **variables: str) -> tuple[subprocess.Popen[str], str]:
        """A tuning that has so many outcomes and goes on, and its parent run."""
        before, process = self.newest(), self.begin(**variables)

        def there() -> bool:
            assert process.poll() is None, process.stderr and process.stderr.read()
            newest = self.newest()
            return newest != before and len(self.outcomes(newest)) >= count

        wait_until(there)
        return process, self.newest()

    def versions(self) -> int:
        return len(self.client.search_model_versions("name='credit_card'"))

    def challenger(self) -> str:
        """The run that the alias leads to; of nothing, an empty name."""
        try:
            return str(self.client.get_model_version_by_alias("credit_card", "challenger").run_id)
        except MlflowException:
            return ""

    def table(self, parent: str, folder: Path) -> list[int]:
        """The numbers of the trials in the table that MLflow's pages show."""
        path = Path(self.client.download_artifacts(parent, "trials.json", str(folder)))
        table = json.loads(path.read_text(encoding="utf-8"))
        return sorted(row[table["columns"].index("trial")] for row in table["data"])


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture(scope="module")
def tunings(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Tunings:
    table = tmp_path_factory.mktemp("small") / "customers.csv"
    command = [sys.executable, "-m", "simulation", "make-data", "--rows", "3000", "--out", str(table)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=120)
    return Tunings(servers, servers.succeed("ingest", str(table))["version"])


@pytest.fixture(scope="module")
def whole(tunings: Tunings) -> list[Outcome]:
    """A tuning that nothing happened to."""
    process = tunings.begin()
    assert process.wait(DEADLINE_SECONDS) == 0
    return tunings.outcomes(tunings.newest())


def test_a_killed_tuning_goes_on_to_the_same_end(tunings: Tunings, whole: list[Outcome]) -> None:
    process, parent = tunings.begin_and_see(2)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    told = tunings.servers.command("tune", "--resume", parent)
    assert "gave a sign of life" in told.stderr  # it might run elsewhere

    tunings.client.set_tag(parent, ALIVE_TAG, LONG_AGO)
    resumed = tunings.servers.succeed("tune", "--resume", "--no-progress")

    assert resumed["parent_run_id"] == parent
    assert tunings.outcomes(parent) == whole
    assert tunings.client.get_run(parent).info.status == "FINISHED"
    assert "RUNNING" not in {run.info.status for run in tunings.trials(parent)}
    assert "has finished; begin another" in tunings.servers.command("tune", "--resume", parent).stderr


def test_without_mlflow_a_tuning_ends_clearly_registers_nothing_and_can_go_on(
    tunings: Tunings, whole: list[Outcome]
) -> None:
    versions = tunings.versions()
    process, parent = tunings.begin_and_see(1, OUTAGE_SECONDS="1")
    tunings.servers.end_mlflow()
    try:
        code, said = process.wait(DEADLINE_SECONDS), process.stderr and process.stderr.read()
    finally:
        tunings.servers.begin_mlflow()

    assert code == 1
    assert said
    assert said.splitlines()[-1].startswith(f"error: MLflow at {tunings.servers.tracking_uri} cannot be reached")
    assert tunings.versions() == versions
    tunings.client.set_tag(parent, ALIVE_TAG, LONG_AGO)
    assert tunings.servers.succeed("tune", "--resume", parent, "--no-progress")["parent_run_id"] == parent
    assert tunings.outcomes(parent) == whole
    assert tunings.versions() == versions + 1


def test_an_outage_that_ends_in_time_is_waited_for(tunings: Tunings, whole: list[Outcome]) -> None:
    process, parent = tunings.begin_and_see(1, OUTAGE_SECONDS="100")
    tunings.servers.end_mlflow()
    tunings.servers.begin_mlflow()

    assert process.wait(DEADLINE_SECONDS) == 0, process.stderr and process.stderr.read()
    assert tunings.outcomes(parent) == whole


@pytest.fixture
def proxy(tunings: Tunings) -> Iterator[Proxy]:
    """Between the tuning and MLflow, which itself stays up and can be asked what it holds."""
    proxy = Proxy("127.0.0.1", tunings.servers.ports.mlflow_port)
    yield proxy
    proxy.close()


REGISTERING = [
    pytest.param(b"/registered-models/create", False, 0, id="the name is not made"),
    pytest.param(b"/model-versions/create", False, 0, id="the version is not made"),
    pytest.param(b"/model-versions/create", True, 1, id="the version is made, its answer is lost"),
    pytest.param(b"/registered-models/alias", False, 1, id="the alias stays"),
]


@pytest.mark.parametrize(("words", "heard", "made"), REGISTERING)
def test_mlflow_lost_while_a_candidate_is_registered_leaves_no_half_of_it(
    tunings: Tunings, whole: list[Outcome], proxy: Proxy, tmp_path: Path, words: bytes, heard: bool, made: int
) -> None:
    """At each of its calls: the tuning ends clearly, the alias stays where it was, and the next run picks up."""
    versions, challenger = tunings.versions(), tunings.challenger()
    through = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{proxy.port}"}
    proxy.cut_at(words, heard)
    process = tunings.begin(OUTAGE_SECONDS="5", **through)
    code, said = process.wait(DEADLINE_SECONDS), process.stderr and process.stderr.read()

    assert proxy.was_cut.is_set(), said
    assert (code, (said or "").splitlines()[-1].partition(" cannot be reached")[0]) == (
        1,
        f"error: MLflow at {through['MLFLOW_TRACKING_URI']}",
    )
    assert (tunings.versions(), tunings.challenger()) == (versions + made, challenger)
    parent = tunings.newest()
    tunings.client.set_tag(parent, ALIVE_TAG, LONG_AGO)
    proxy.mend()
    done = tunings.servers.succeed("tune", "--resume", parent, "--no-progress")

    assert tunings.outcomes(parent) == whole
    assert (tunings.versions(), tunings.challenger()) == (versions + 1, done["run_id"])
    assert tunings.table(parent, tmp_path) == list(range(TRIALS))


def test_an_outage_while_a_candidate_is_registered_is_waited_for(
    tunings: Tunings, whole: list[Outcome], proxy: Proxy, tmp_path: Path
) -> None:
    """The version was made, its answer lost: when asked again it is the same one, not a second."""
    versions = tunings.versions()
    proxy.cut_at(b"/model-versions/create", heard=True)
    process = tunings.begin(OUTAGE_SECONDS="60", MLFLOW_TRACKING_URI=f"http://127.0.0.1:{proxy.port}")
    assert proxy.was_cut.wait(DEADLINE_SECONDS)
    proxy.mend()

    assert process.wait(DEADLINE_SECONDS) == 0, process.stderr and process.stderr.read()
    parent = tunings.newest()
    assert tunings.outcomes(parent) == whole
    assert tunings.versions() == versions + 1
    assert tunings.client.get_run(tunings.challenger()).data.tags[PARENT_TAG] == parent
    assert tunings.table(parent, tmp_path) == list(range(TRIALS))


def test_a_killed_workers_trial_runs_again_on_a_cluster_of_processes(tunings: Tunings) -> None:
    """Every trial is there once, none failed; the rows went from S3 to each worker."""
    process, parent = tunings.begin_and_see(1, TUNING_CLUSTER="local", TUNING_WORKERS="2", TUNING_PRUNING="false")
    running = [run for run in tunings.trials(parent) if OUTCOME_TAG not in run.data.tags]
    wait_until(lambda: bool(running) or bool(tunings.trials(parent)))
    victim = int(running[0].data.tags[WORKER_TAG].partition(":")[2]) if running else a_worker(tunings, parent)
    os.kill(victim, signal.SIGKILL)

    assert process.wait(DEADLINE_SECONDS) == 0, process.stderr and process.stderr.read()
    outcomes = tunings.outcomes(parent)
    assert [one.number for one in outcomes] == list(range(TRIALS))
    assert {one.status for one in outcomes} == {"finished"}
    workers = {run.data.tags[WORKER_TAG] for run in tunings.trials(parent)}
    assert len(workers) >= 2
    assert not any(worker.endswith(f":{process.pid}") for worker in workers)
    assert "RUNNING" not in {run.info.status for run in tunings.trials(parent)}


def test_workers_of_this_machine_are_spared_dasks_profiler() -> None:
    """Also where Dask has read its settings before the pool is opened, as it has on its import."""
    assignment: Any = None
    with open_runner("local", 1, lambda _: assignment) as pool:
        assert pool.room() == 1
        assert list(pool.runner.client.run(_profiled).values()) == [False]


def _profiled() -> bool:
    import dask

    return bool(dask.config.get("distributed.worker.profile.enabled"))


def a_worker(tunings: Tunings, parent: str) -> int:
    return int(tunings.trials(parent)[0].data.tags[WORKER_TAG].partition(":")[2])


def test_two_tunings_at_once_both_end_with_a_model_of_their_own(tunings: Tunings, whole: list[Outcome]) -> None:
    versions = tunings.versions()
    both = [tunings.begin() for _ in range(2)]

    assert [process.wait(DEADLINE_SECONDS) for process in both] == [0, 0]
    assert tunings.versions() == versions + 2
    assert tunings.outcomes(tunings.newest()) == whole


def test_where_artifacts_cannot_be_kept_nothing_is_registered(tunings: Tunings) -> None:
    """S3 that is gone and a full disk look alike from here: MLflow answers, and cannot keep a bundle."""
    versions = tunings.versions()
    artifacts = tunings.servers.folder / "mlflow" / "artifacts"
    aside = artifacts.rename(artifacts.with_name("aside"))
    artifacts.write_text("in the way")
    try:
        process = tunings.begin(OUTAGE_SECONDS="0")
        code, said = process.wait(DEADLINE_SECONDS), process.stderr and process.stderr.read()
    finally:
        artifacts.unlink()
        aside.rename(artifacts)

    assert code == 1
    assert said
    assert "cannot keep what it is given" in said.splitlines()[-1]
    assert tunings.versions() == versions
    assert tunings.client.get_run(tunings.newest()).info.status == "FAILED"
