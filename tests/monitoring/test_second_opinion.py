"""Evidently is asked seldom, about what matters, one job at a time, and its answer is shown beside ours."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from churn.errors import WatchError
from monitoring.second_opinion import OPINION_KIND, PATIENCE_SECONDS, SecondOpinions, ask
from monitoring.server import StatusServer
from monitoring.service import WatchService

RUN = "a" * 32


class Job:
    """A started job that ends when the test says so."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.code: int | None = None

    def poll(self) -> int | None:
        return self.code

    def kill(self) -> None:
        self.code = -9 if self.code is None else self.code

    def wait(self) -> int | None:
        return self.code


@pytest.fixture
def jobs() -> list[Job]:
    return []


@pytest.fixture
def service(scene: Any, jobs: list[Job]) -> WatchService:
    def start(key: str) -> Any:
        jobs.append(Job(key))
        return jobs[-1]

    opinions = SecondOpinions(scene.store, 300.0, scene.clock, start)
    return WatchService(scene.watch(), CollectorRegistry(), 1.0, scene.clock, opinions)


def number(job: Job) -> int:
    return int(job.key.rpartition("/")[2])


def test_one_job_at_a_time_and_none_again_before_the_interval_is_over(
    scene: Any, service: WatchService, jobs: list[Job]
) -> None:
    scene.send(400, seconds_apart=0.1)
    scene.clock.advance(10)
    service.poll()
    jobs[0].code = 0
    scene.send(200, seconds_apart=0.1)
    scene.clock.advance(10)
    service.poll()
    early = [number(job) for job in jobs]
    scene.send(200, seconds_apart=0.1)
    scene.clock.advance(300)
    service.poll()

    assert early == [1], "of two windows that wait, the newer"
    assert [number(job) for job in jobs] == [1, 3]


def test_a_window_that_opens_an_alarm_is_asked_about_at_once(
    scene: Any, service: WatchService, jobs: list[Job], changes: Any
) -> None:
    scene.send(200, seconds_apart=0.1)
    scene.clock.advance(10)
    service.poll()
    jobs[0].code = 0
    scene.send(600, changes["shift"], seconds_apart=0.1)
    scene.clock.advance(10)
    service.poll()

    assert [number(job) for job in jobs] == [0, 2]


def test_a_job_that_hangs_is_ended_and_the_next_one_starts(scene: Any, service: WatchService, jobs: list[Job]) -> None:
    scene.send(200, seconds_apart=0.1)
    scene.clock.advance(10)
    service.poll()
    scene.clock.advance(PATIENCE_SECONDS)
    scene.send(200, seconds_apart=0.1)
    scene.clock.advance(10)
    service.poll()

    assert [job.code for job in jobs] == [-9, None]


def test_what_evidently_said_is_exported_and_linked(scene: Any, service: WatchService) -> None:
    scene.send(200)
    scene.clock.advance(10)
    opinion = {"page": "p.html", "scores": [{"column": "gender", "method": "jensenshannon", "score": 0.05}]}
    scene.store.put_document(OPINION_KIND, f"credit_card/{RUN}/rows-200/000000000000", opinion)
    service.poll()
    labels = {"contract": "credit_card", "model_run_id": RUN, "feature": "gender", "method": "evidently:jensenshannon"}
    shown = {
        tuple(sorted(sample.labels.items())): sample.value
        for family in service.metrics.drift_score.collect()
        for sample in family.samples
    }

    assert shown[tuple(sorted(labels.items()))] == 0.05
    assert service.status()["runs"][0]["evidently"] == "p.html"


def test_an_alarms_link_leads_to_the_newest_page_of_its_run(scene: Any, service: WatchService, tmp_path: Path) -> None:
    scene.send(200)
    scene.clock.advance(10)
    service.poll()
    (tmp_path / "newest.html").write_text("Evidently's page")
    key = scene.store.documents("verdict")[0]["key"]
    scene.store.put_document("evidently", key, {"key": key, "page": "newest.html", "scores": []})
    service.poll()
    server = StatusServer("127.0.0.1", 0, CollectorRegistry(), service.status, service.health, tmp_path)
    base = f"http://127.0.0.1:{server.port}/evidently"
    with urllib.request.urlopen(f"{base}/credit_card/{scene.bundle.run_id}", timeout=10) as answer:
        led_to, page = answer.url, answer.read().decode()
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{base}/credit_card/another", timeout=10)
    server.close()

    assert (led_to, page) == (f"{base}/newest.html", "Evidently's page")


def test_a_window_that_was_never_judged_ends_with_a_sentence(scene: Any, tmp_path: Path) -> None:
    with pytest.raises(WatchError, match="no window nothing was judged"):
        ask(scene.store, "nothing", lambda *_: scene.bundle, tmp_path, 1_000)


def test_no_file_beside_the_pages_can_be_fetched(tmp_path: Path, service: WatchService) -> None:
    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "a b.html").write_text("<p>fine</p>")
    (tmp_path / "secret.html").write_text("no")
    server = StatusServer("127.0.0.1", 0, CollectorRegistry(), service.status, service.health, folder)
    found = {}
    for name in ("a%20b.html", "../secret.html", "..%2Fsecret.html", "%2e%2e/secret.html", "none.html", "%00.html"):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/evidently/{name}") as answer:
                found[name] = answer.read().decode()
        except urllib.error.HTTPError as error:
            found[name] = str(error.code)
    server.close()

    assert found.pop("a%20b.html") == "<p>fine</p>"
    assert set(found.values()) == {"404"}


@pytest.mark.integration
def test_evidently_itself_sees_the_shift_and_writes_a_page(scene: Any, tmp_path: Path, changes: Any) -> None:
    scene.send(400, changes["shift"])
    scene.clock.advance(10)
    key = scene.watch().poll()[0].window.key
    page = ask(scene.store, key, lambda *_: scene.bundle, tmp_path / "pages", 1_000)
    scores = {score["column"]: score for score in scene.store.document(OPINION_KIND, key)["scores"]}

    assert page is not None
    assert page.stat().st_size > 100_000
    assert scores["credit_limit"]["drifted"]
    assert not scores["customer_age"]["drifted"]
