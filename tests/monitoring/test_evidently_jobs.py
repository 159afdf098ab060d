"""The watch does Evidently's jobs for rooms without Evidently, and takes nothing else for one."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3
from prometheus_client import CollectorRegistry

from churn.contract import Contract
from churn.errors import EvidentlyFailed
from churn.evidently_remote import GIVEN, ask_elsewhere
from churn.evidently_report import evidently_job
from monitoring.server import JOBS, StatusServer
from tests.fakes import random_customers
from tests.services import free_port


@pytest.fixture
def url() -> Iterator[str]:
    server = StatusServer("127.0.0.1", 0, CollectorRegistry(), lambda: {"runs": []}, lambda: "")
    yield f"http://127.0.0.1:{server.port}{JOBS}"
    server.close()


def archive(**files: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as made:
        for name, content in files.items():
            made.writestr(name, content)
    return packed.getvalue()


@pytest.mark.integration
def test_a_job_done_elsewhere_gives_what_a_process_here_would(url: str, credit_card: Contract, tmp_path: Path) -> None:
    frames = [random_customers(credit_card, 300, seed).assign(churn_probability=0.5, churn=False) for seed in (0, 1)]

    there = evidently_job(credit_card, *frames, tmp_path / "page.html", run=ask_elsewhere(url))

    assert len(there.scores) + len(there.skipped) == len(credit_card.features) + 2
    assert b"<html" in (tmp_path / "page.html").read_bytes()


@pytest.mark.parametrize(
    "body",
    [b"no archive", archive(**{"../../evil": b"x"}), archive(**dict.fromkeys((*GIVEN, "more"), b""))],
    ids=["bytes", "path", "more"],
)
def test_what_is_no_job_is_refused_with_a_sentence(url: str, body: bytes) -> None:
    answer = urllib3.request("POST", url, body=body, retries=False)

    assert answer.status == 422
    assert b"expected the files" in answer.data or b"no archive of a job" in answer.data


def test_an_address_where_nobody_is_fails_as_a_job_does(credit_card: Contract) -> None:
    frames = [random_customers(credit_card, 30, seed).assign(churn_probability=0.5, churn=False) for seed in (0, 1)]

    with pytest.raises(EvidentlyFailed, match="EVIDENTLY_URL"):
        evidently_job(credit_card, *frames, run=ask_elsewhere(f"http://127.0.0.1:{free_port()}/evidently-jobs"))
