"""Alertmanager's webhook over real HTTP; what it triggers is a list."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from churn.errors import ChurnwatchError, SettingError
from orchestration import notice, retrain_commands
from orchestration.__main__ import main
from orchestration.prefect_api import PrefectRefused, run_deployment
from orchestration.receiver import LARGEST_NOTIFICATION, Receiver, ReceiverServer
from orchestration.retraining import Notice
from tests.web_process import eventually

TOKEN = "a token of tests"
EXAMPLE = Path(__file__).with_name("alertmanager_webhook.json")
"""In the form in which Alertmanager posts (version 4), for a column that drifted."""


class Desk:
    """A receiver with its triggers, and a clock for them."""

    def __init__(self) -> None:
        self.triggered: list[tuple[str, str]] = []
        self.cooling = ""
        self.time = 0.0
        self.outage: ChurnwatchError | None = None
        names = {"credit_card": "credit_card", "mine": "folder/mine.toml"}
        self.receiver = Receiver(
            names, frozenset({"FeatureDrift", "ConceptDrift"}), self.trigger, lambda _: self.cooling, lambda: self.time
        )
        self.server = ReceiverServer(self.receiver, "127.0.0.1", 0, TOKEN)

    def trigger(self, contract: str, reason: str) -> str:
        if self.outage:
            raise self.outage
        self.triggered.append((contract, reason))
        return f"run {len(self.triggered)}"

    def post(self, body: bytes, path: str = "/alerts", **headers: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        connection.request("POST", path, body, {"Authorization": f"Bearer {TOKEN}", **headers})
        response = connection.getresponse()
        answer = response.status, json.loads(response.read())
        connection.close()
        return answer

    def alerts(self, *labels: dict[str, str], status: str = "firing") -> list[dict[str, str]]:
        told = json.dumps({"alerts": [{"status": status, "labels": one} for one in labels]}).encode()
        status_code, answer = self.post(told)
        assert status_code == 202
        return list(answer["retrainings"])


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    desk.server.start(poll_seconds=0.02)
    yield desk
    desk.server.close()


def drift(contract: str = "credit_card", name: str = "FeatureDrift", **more: str) -> dict[str, str]:
    return {"alertname": name, "contract": contract, **more}


def test_what_alertmanager_sends_starts_a_retraining(desk: Desk) -> None:
    status, answer = desk.post(EXAMPLE.read_bytes())

    assert status == 202
    assert [(one["contract"], one["outcome"]) for one in answer["retrainings"]] == [("credit_card", "started")]
    assert desk.triggered == [("credit_card", "alert FeatureDrift of total_trans_amt")]


def test_one_notification_asks_once_for_each_contract(desk: Desk) -> None:
    desk.alerts(drift(feature="a"), drift(feature="b"), drift("mine", "ConceptDrift"))

    assert desk.triggered == [("credit_card", "alert FeatureDrift of a"), ("folder/mine.toml", "alert ConceptDrift")]


def test_other_alerts_ended_ones_and_unknown_contracts_start_nothing(desk: Desk) -> None:
    assert desk.alerts(drift(name="DiskFull"), drift("../../etc/passwd"), {"alertname": "FeatureDrift"}) == []
    assert desk.alerts(drift(), status="resolved") == []


def test_while_one_cools_down_the_answer_says_so(desk: Desk) -> None:
    desk.cooling = "credit_card was last retrained lately"

    assert desk.alerts(drift())[0]["because"] == "credit_card was last retrained lately"
    assert desk.triggered == []


def test_a_burst_asks_once(desk: Desk) -> None:
    """The first has hardly claimed its turn when the second comes."""
    first, second = desk.alerts(drift()), desk.alerts(drift(feature="b"))
    desk.time = 61.0

    assert (first[0]["outcome"], second[0]["outcome"]) == ("started", "not started")
    assert desk.alerts(drift())[0]["outcome"] == "started"


def test_an_outage_is_answered_so_that_alertmanager_comes_again(desk: Desk) -> None:
    desk.outage = PrefectRefused("Prefect is gone")

    assert desk.post(EXAMPLE.read_bytes()) == (503, {"status": "Prefect is gone"})
    desk.outage = None
    assert desk.post(EXAMPLE.read_bytes())[0] == 202


@pytest.mark.parametrize(
    ("body", "path", "headers", "status"),
    [
        (b"{}", "/alerts", {"Authorization": "Bearer wrong"}, 401),
        (b"{}", "/alerts", {"Authorization": ""}, 401),
        (b"", "/alerts", {}, 411),
        (b"{}", "/alerts", {"Content-Length": str(LARGEST_NOTIFICATION + 1)}, 413),
        (b"not json", "/alerts", {}, 400),
        (b'{"alerts": [{"status": "firing", "labels": {"alertname": 7}}]}', "/alerts", {}, 400),
        (b"{}", "/elsewhere", {}, 404),
    ],
)
def test_what_is_wrong_is_refused(desk: Desk, body: bytes, path: str, headers: dict[str, str], status: int) -> None:
    assert desk.post(body, path, **headers)[0] == status
    assert desk.triggered == []


def test_outside_loopback_a_token_is_demanded(desk: Desk) -> None:
    with pytest.raises(SettingError, match=r"RETRAIN_TOKEN=.*RETRAIN_HOST=0\.0\.0\.0 is not loopback"):
        ReceiverServer(desk.receiver, "0.0.0.0", 0)  # noqa: S104  # it must not come to that


class Recorder:
    """A web server that remembers what was posted to it and answers one status."""

    def __init__(self, status: int = 200, answer: Any = None) -> None:
        self.posted: list[tuple[str, Any]] = []
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer()

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                recorder.posted.append((self.path, json.loads(self.rfile.read(length))))
                self._answer()

            def _answer(self) -> None:
                body = json.dumps(answer or {}).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Silent."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> Recorder:
        Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def test_a_notice_is_posted_as_a_text_and_its_facts() -> None:
    told = Notice("shop", "drift", "fit", "run c waits as challenger", run_id="c", test_auc=0.9)
    with Recorder() as chat:
        assert notice.tell(told, f"{chat.url}/hook")

    path, document = chat.posted[0]
    assert (path, document["outcome"], document["test_auc"]) == ("/hook", "fit", 0.9)
    assert document["text"] == "Retraining of shop (drift): fit. run c waits as challenger"


class Logged:
    """A logger that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, event: str, **facts: Any) -> None:
        self.lines.append(f"{event} {facts}")

    error = warning = info


def test_a_webhook_that_fails_is_logged_without_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    logged = Logged()
    monkeypatch.setattr(notice, "log", logged)
    with Recorder(status=403) as chat:
        assert not notice.tell(Notice("shop", "drift", "fit", ""), f"{chat.url}/secret-part")
    assert not notice.tell(Notice("shop", "drift", "fit", ""), "nonsense://secret-part")

    printed = "\n".join(logged.lines)
    assert "it answered 403" in printed
    assert "secret-part" not in printed


def test_a_run_of_a_deployment_is_asked_for_by_name() -> None:
    with Recorder(answer={"id": "1234"}) as prefect:
        assert run_deployment(f"{prefect.url}/api/", "retrain/retrain", {"contract": "shop"}) == "1234"

    assert prefect.posted == [("/api/deployments/1234/create_flow_run", {"parameters": {"contract": "shop"}})]


def test_a_deployment_that_is_absent_and_a_prefect_that_is_down_are_named() -> None:
    with Recorder(status=404) as prefect, pytest.raises(PrefectRefused, match="knows no deployment retrain/retrain"):
        run_deployment(prefect.url, "retrain/retrain", {})
    with pytest.raises(PrefectRefused, match=r"Prefect at http://127.0.0.1:9 cannot be reached"):
        run_deployment("http://127.0.0.1:9", "retrain/retrain", {})


def test_without_prefect_the_command_is_started_with_words_that_are_only_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "told"
    program = tmp_path / "python"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {told}.part && mv {told}.part {told}\n')
    program.chmod(0o755)
    monkeypatch.setattr(retrain_commands.sys, "executable", str(program))
    started = retrain_commands.start_command("shop", "alert FeatureDrift of a\n--force $(b)")

    assert started.startswith("process ")
    assert eventually(told.exists, 10)
    words = ["-m", "orchestration", "retrain", "--contract", "shop", "--reason=alert FeatureDrift of a--force b"]
    assert told.read_text().splitlines() == words


def test_serve_without_a_prefect_server_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)

    assert main(["serve"]) == 1
    assert "error: serve needs a Prefect server" in capsys.readouterr().err
