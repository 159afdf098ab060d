"""The deployment's own scripts against two HTTP services behind the shipped load balancer; ssh alone is replaced."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from churn.bundle import Bundle
from churn.encoder import frame_records
from churn.registry import APPROVED_AT_TAG, APPROVED_DIGEST_TAG
from tests.fake_mlflow import FakeMlflow
from tests.fakes import make_bundle
from tests.services import free_port
from tests.web_process import Senders, eventually

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / ".ci" / "deploy"
RUNS = {"old": "1" * 32, "new": "2" * 32, "damaged": "3" * 32, "unapproved": "4" * 32}


class Pair:
    """Two servers, `a` and `b`, each a folder; and what `roll.py` needs to reach them without ssh."""

    def __init__(self, folder: Path, mlflow: FakeMlflow) -> None:
        self.folder, self.hosts = folder, ("a", "b")
        self.ports = {host: free_port() for host in self.hosts}
        runner = folder / "runner"
        runner.write_text(
            '#!/usr/bin/env bash\nset -e\ncd "$(dirname "$0")/$1"\nshift\n'
            f'DEPLOY_URL=http://127.0.0.1:$(cat port) exec {DEPLOY}/on-server "$@"\n'
        )
        runner.chmod(0o755)
        self.variables = os.environ | {
            "CODE": str(ROOT),
            "PYTHONPATH": str(ROOT),
            "MLFLOW_TRACKING_URI": mlflow.url,
            "WEB_WORKERS": "1",
            "DEPLOY_RUNNER": str(runner),
            "DEPLOY_SETTLE_SECONDS": "4",  # more than the balancer's fail_timeout and a second
            "DEPLOY_START": f"{sys.executable} {ROOT}/tests/ci/restart_web.py",
            "DEPLOY_CHECK": f"{sys.executable} -m orchestration",
        }
        for host, port in self.ports.items():
            (folder / host).mkdir()
            (folder / host / "port").write_text(str(port))
            (folder / host / ".env.cloud").write_text(f"CONTRACT=credit_card\nRUN_ID={RUNS['old']}\n")

    def start(self, host: str) -> None:
        command = [sys.executable, str(ROOT / "tests" / "ci" / "restart_web.py")]
        subprocess.run(command, cwd=self.folder / host, env=self.variables, check=True, timeout=120)

    def stop(self, host: str) -> None:
        """The service and whatever is left of its session."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            pid = int((self.folder / host / "web.pid").read_text())
            os.kill(pid, signal.SIGTERM)
            eventually(lambda: not Path(f"/proc/{pid}").exists(), 20)
            os.killpg(pid, signal.SIGKILL)

    def deploy(self, name: str) -> subprocess.CompletedProcess[str]:
        wanted = self.folder / ".env.cloud"
        wanted.write_text(f"CONTRACT=credit_card\nRUN_ID={RUNS[name]}  # {name}\n")
        return subprocess.run(
            [sys.executable, str(DEPLOY / "roll.py"), "--env-file", str(wanted), *self.hosts],
            env=self.variables | {"DEPLOY_READY_SECONDS": "20"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def served(self) -> list[str]:
        """By each server itself."""
        script = [sys.executable, str(DEPLOY / "smoke.py"), "--seconds", "0"]
        names = []
        for port in self.ports.values():
            for name, run_id in RUNS.items():
                asked = [*script, "--url", f"http://127.0.0.1:{port}", "--run-id", run_id, "--score"]
                if subprocess.run(asked, capture_output=True, check=False).returncode == 0:
                    names.append(name)
        return names

    def files(self) -> set[str]:
        return {(self.folder / host / ".env.cloud").read_text() for host in self.hosts}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    folder = tmp_path_factory.mktemp("bundles")
    return {name: make_bundle(folder / name, rows=400, rounds=4, run_id=run_id) for name, run_id in RUNS.items()}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, bundles: dict[str, Bundle]) -> Iterator[Pair]:
    mlflow = FakeMlflow()
    for name, bundle in bundles.items():
        approved = {APPROVED_AT_TAG: "2026-01-31T12:00:00Z", APPROVED_DIGEST_TAG: bundle.digest}
        mlflow.register(bundle, tags={} if name == "unapproved" else approved)
    mlflow.damage(bundles["damaged"], "model.ubj")
    pair = Pair(tmp_path_factory.mktemp("pair"), mlflow)
    try:
        for host in pair.hosts:
            pair.start(host)
        yield pair
    finally:
        for host in pair.hosts:
            pair.stop(host)
        mlflow.close()


@pytest.fixture
def balancer(pair: Pair, tmp_path: Path) -> Iterator[int]:
    """nginx with the shipped file; its port."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        pytest.skip("no nginx on this machine: install the package nginx-light")
    port, text = free_port(), (DEPLOY / "pair.conf").read_text()
    for host, own in pair.ports.items():
        text = text.replace(f"server-{host}:9696", f"127.0.0.1:{own}")
    text = text.replace("listen 127.0.0.1:9695", f"listen 127.0.0.1:{port}")
    paths = "".join(f"{kind}_temp_path {kind};\n" for kind in ("proxy", "fastcgi", "uwsgi", "scgi", "client_body"))
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; master_process off; pid nginx.pid; error_log error.log;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{paths}{text}}}\n"
    )
    process = subprocess.Popen([program, "-p", str(tmp_path), "-c", "nginx.conf", "-e", "error.log"])
    assert eventually(lambda: listens(port) or process.poll() is not None, 30)
    assert process.poll() is None, (tmp_path / "error.log").read_text()
    yield port
    process.terminate()
    process.wait(10)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def customers(bundle: Bundle) -> list[dict[str, Any]]:
    return frame_records(bundle.reference().head(20), bundle.contract.feature_names)


@pytest.mark.integration
def test_a_good_run_is_rolled_out_and_a_bad_one_taken_back_without_a_failed_request(
    pair: Pair, balancer: int, bundles: dict[str, Bundle]
) -> None:
    with Senders(balancer, customers(bundles["old"]), threads=2, pause=0.02) as senders:
        assert eventually(lambda: len(senders.answers) > 20, 20)
        good = pair.deploy("new")
        assert good.returncode == 0, good.stdout + good.stderr
        assert pair.served() == ["new", "new"]
        deployed = pair.files()
        bad = pair.deploy("damaged")
        seen = len(senders.answers)
        assert eventually(lambda: len(senders.answers) > seen + 20, 20)

    steps = re.findall(r"^==> (\w: \w+)", good.stdout, re.MULTILINE)
    looked = ["a: ready", "b: ready", "a: validate"]
    assert steps == [*looked, "b: ready", "a: apply", "a: smoke", "a: ready", "b: apply", "b: smoke"]
    assert bad.returncode == 3, bad.stdout + bad.stderr
    assert re.findall(r"^==> (\w: \w+)", bad.stdout, re.MULTILINE)[4:] == ["a: apply", "a: back", "a: ready"]
    assert "taken back: a serve what they served before" in bad.stderr
    assert pair.served() == ["new", "new"]
    assert pair.files() == deployed == {f"CONTRACT=credit_card\nRUN_ID={RUNS['new']}  # new\n"}
    assert (senders.refusals, senders.cut) == ([], 0)
    assert {answer["model_run_id"] for answer in senders.answers} == {RUNS["old"], RUNS["new"]}


@pytest.mark.integration
def test_a_run_that_was_never_promoted_and_a_pair_with_one_down_are_left_alone(pair: Pair) -> None:
    before = pair.files(), pair.served()
    refused = pair.deploy("unapproved")
    assert refused.returncode == 1
    assert f"run {RUNS['unapproved']} was never promoted" in refused.stderr
    assert (pair.files(), pair.served()) == before

    pair.stop("b")
    pair.variables["DEPLOY_READY_SECONDS"] = "1"
    refused = pair.deploy("new")
    assert refused.returncode == 1
    assert "refused: b: ready ended with 1: smoke test: not ready within" in refused.stderr


def fake_ssh(folder: Path) -> dict[str, str]:
    """An `ssh` that tells its arguments, and runs the command here as a host's shell would."""
    script = folder / "ssh"
    script.write_text(f'#!/usr/bin/env bash\nprintf "%s\\n" "$@" > {folder}/arguments\nbash -c "${{@: -1}}"\n')
    script.chmod(0o755)
    return os.environ | {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "DEPLOY_KEY": "the key",
        "DEPLOY_KNOWN_HOSTS": "known hosts",
        "DEPLOY_FOLDER": str(folder / "its folder"),
    }


def test_over_ssh_only_hosts_with_a_known_key_are_spoken_to(tmp_path: Path) -> None:
    """And each word of a verb arrives as one word."""
    scripts = tmp_path / "its folder" / ".ci" / "deploy"
    scripts.mkdir(parents=True)
    (scripts / "on-server").write_text('#!/usr/bin/env bash\nprintf "<%s>" "$@"\n')
    (scripts / "on-server").chmod(0o755)
    command = [str(DEPLOY / "over-ssh"), "server-a", "smoke", "a b; touch wrong"]
    done = subprocess.run(command, env=fake_ssh(tmp_path), cwd=tmp_path, capture_output=True, text=True, check=True)
    arguments = (tmp_path / "arguments").read_text().splitlines()

    assert done.stdout == "<smoke><a b; touch wrong>"
    assert not (tmp_path / "wrong").exists()
    assert {"StrictHostKeyChecking=yes", "UserKnownHostsFile=known hosts", "BatchMode=yes"} <= set(arguments)
    assert arguments[-2] == "churnwatch@server-a"


def test_without_pinned_keys_nobody_is_spoken_to(tmp_path: Path) -> None:
    variables = {name: value for name, value in fake_ssh(tmp_path).items() if name != "DEPLOY_KNOWN_HOSTS"}
    command = [str(DEPLOY / "over-ssh"), "server-a", "ready"]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)

    assert done.returncode != 0
    assert "DEPLOY_KNOWN_HOSTS" in done.stderr
    assert not (tmp_path / "arguments").exists()


@pytest.mark.parametrize(
    ("verb", "given", "words"),
    [
        (["back"], "", "nothing was applied here"),
        (["apply"], "CONTRACT=x\n", "the new .env.cloud sets no RUN_ID"),
        (["smoke"], "", "smoke needs the run id"),
        (["fly"], "", "expected ready, validate, apply, back or smoke RUN_ID; got 'fly'"),
    ],
)
def test_what_cannot_be_done_on_a_server_is_said(tmp_path: Path, verb: list[str], given: str, words: str) -> None:
    (tmp_path / ".env.cloud").write_text("RUN_ID=champion\n")
    command = [str(DEPLOY / "on-server"), *verb]
    done = subprocess.run(command, cwd=tmp_path, input=given, capture_output=True, text=True, check=False)

    assert done.returncode != 0
    assert words in done.stderr
    assert (tmp_path / ".env.cloud").read_text() == "RUN_ID=champion\n"


class Script:
    """A runner that notes its verbs, and does with one of them what a test wants."""

    def __init__(self, folder: Path, case: str) -> None:
        self.folder = folder
        self.path = folder / "runner"
        self.path.write_text(
            f'#!/usr/bin/env bash\necho "$1 $2" >> {folder}/steps\n'
            f'case "$1 $2" in\n{case}\n*validate) echo {RUNS["new"]} ;;\nesac\n'
        )
        self.path.chmod(0o755)
        (folder / ".env.cloud").write_text(f"RUN_ID={RUNS['new']}\n")

    def roll(self, settle_seconds: float = 0.01) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(DEPLOY / "roll.py"), "--env-file", str(self.folder / ".env.cloud"), "a", "b"],
            env=os.environ | {"DEPLOY_RUNNER": str(self.path), "DEPLOY_SETTLE_SECONDS": str(settle_seconds)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def steps(self) -> list[str]:
        return (self.folder / "steps").read_text().splitlines() if (self.folder / "steps").exists() else []


LOOKED = ["a ready", "b ready", "a validate"]
BOTH_BACK = ["b back", "b ready", "a back", "a ready"]


def test_when_the_second_server_fails_both_go_back_the_failed_one_first(tmp_path: Path) -> None:
    script = Script(tmp_path, '"b smoke") echo "it serves another run" >&2; exit 1 ;;')
    rolled = script.roll()
    said = rolled.communicate(timeout=30)[1]

    assert rolled.returncode == 3
    assert script.steps() == [*LOOKED, "b ready", "a apply", "a smoke", "a ready", "b apply", "b smoke", *BOTH_BACK]
    assert "failed: b: smoke" in said
    assert "it serves another run; taking it back from a, b" in said


def test_no_server_is_changed_before_the_balancer_had_time_to_see_the_other_again(tmp_path: Path) -> None:
    """Nor the first: the deployment before may have ended just now. Cancelled meanwhile, nothing is taken back."""
    script = Script(tmp_path, "")
    rolled = script.roll(settle_seconds=60)
    assert eventually(lambda: script.steps() == LOOKED, 20)
    time.sleep(0.3)  # in which one that does not wait would have begun
    rolled.send_signal(signal.SIGTERM)

    assert "cancelled; nothing was changed" in rolled.communicate(timeout=20)[1]
    assert (rolled.returncode, script.steps()) == (1, LOOKED)


def test_when_the_other_server_is_lost_meanwhile_nothing_is_taken_down(tmp_path: Path) -> None:
    """It was ready at the first look, and is not at the one just before the first server would be changed."""
    script = Script(tmp_path, f'"b ready") [ "$(grep -c "b ready" {tmp_path}/steps)" = 1 ] ;;')
    rolled = script.roll()
    said = rolled.communicate(timeout=30)[1]

    assert (rolled.returncode, script.steps()) == (1, [*LOOKED, "b ready"])
    assert "refused: b: ready ended with 1" in said


def test_a_server_that_cannot_go_back_is_told_and_the_other_still_does(tmp_path: Path) -> None:
    script = Script(tmp_path, '"b smoke" | "b back") exit 1 ;;')
    rolled = script.roll()
    said = rolled.communicate(timeout=30)[1]

    assert rolled.returncode == 4
    assert script.steps()[-3:] == ["b back", "a back", "a ready"]
    assert "not taken back: b: back ended with 1" in said


def test_a_cancelled_deployment_takes_back_what_it_began(tmp_path: Path) -> None:
    script = Script(tmp_path, '"b apply") exec sleep 30 ;;')
    rolled = script.roll()
    assert eventually(lambda: "b apply" in script.steps(), 20)
    rolled.send_signal(signal.SIGTERM)
    said = rolled.communicate(timeout=20)[1]

    assert rolled.returncode == 3
    assert script.steps()[-4:] == BOTH_BACK
    assert "failed: cancelled" in said


def test_a_file_without_a_run_id_is_refused_before_anybody_is_asked(tmp_path: Path) -> None:
    script = Script(tmp_path, "")
    (tmp_path / ".env.cloud").write_text("# RUN_ID=none\nCONTRACT=credit_card\n")
    rolled = script.roll()

    assert "sets no RUN_ID" in rolled.communicate(timeout=30)[1]
    assert (rolled.returncode, script.steps()) == (1, [])


def test_of_two_deployments_on_a_server_one_is_turned_away_and_going_back_waits(tmp_path: Path) -> None:
    for name in (".env.cloud", ".env.cloud.before"):
        (tmp_path / name).write_text(f"RUN_ID={RUNS['old']}\n")
    variables = os.environ | {"DEPLOY_START": "echo begun >> log; while [ ! -e go ]; do sleep 0.05; done"}
    command = [str(DEPLOY / "on-server")]
    first = subprocess.Popen([*command, "apply"], cwd=tmp_path, env=variables, stdin=subprocess.PIPE, text=True)
    assert first.stdin is not None
    first.stdin.write(f"RUN_ID={RUNS['new']}\n")
    first.stdin.close()
    assert eventually((tmp_path / "log").exists, 20)

    second = subprocess.run([*command, "apply"], cwd=tmp_path, input="RUN_ID=x\n", capture_output=True, text=True)
    back = subprocess.Popen([*command, "back"], cwd=tmp_path, env=variables)
    (tmp_path / "go").touch()

    assert (second.returncode, second.stderr.strip()) == (1, "another deployment is under way on this server")
    assert (first.wait(20), back.wait(20)) == (0, 0)
    assert (tmp_path / ".env.cloud").read_text() == f"RUN_ID={RUNS['old']}\n"
