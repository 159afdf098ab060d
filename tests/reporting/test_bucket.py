"""Reports in S3 as in a folder: found again, replaced whole, purged; on a real server of S3's protocol."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest

from churn.errors import ReportError, SettingError
from reporting.bucket import BucketShelf
from reporting.maker import Maker
from reporting.window import Window
from simulation.stage import Stage, StageSettings, environment, start_aws
from tests.services import free_port

DAY = datetime(2026, 1, 29, tzinfo=UTC)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    home = tmp_path_factory.mktemp("s3")
    ports = StageSettings(aws_port=free_port())
    with Stage(home, os.environ) as stage:
        stage.wait_ready(start_aws(stage, ports), f"http://127.0.0.1:{ports.aws_port}/_ministack/health")
        names = {"endpoint_url": "AWS_ENDPOINT_URL", "region_name": "AWS_REGION"}
        names |= {"aws_access_key_id": "AWS_ACCESS_KEY_ID", "aws_secret_access_key": "AWS_SECRET_ACCESS_KEY"}
        told = environment(home, ports, "credit_card")
        made = boto3.client("s3", **{name: told[variable] for name, variable in names.items()})
        made.create_bucket(Bucket="ours")
        yield made


def keys(client: Any) -> list[str]:
    return sorted(found["Key"] for found in client.list_objects_v2(Bucket="ours").get("Contents", ()))


@pytest.mark.integration
def test_reports_are_made_listed_changed_and_purged_in_a_bucket(client: Any, maker: Maker, send: Any) -> None:
    maker = replace(maker, shelf=BucketShelf("s3://ours/reports", client))
    send(300)
    send(300, seed=2, start=DAY + timedelta(days=1))
    first, second = (Window(DAY + timedelta(days=n), DAY + timedelta(days=n + 1)) for n in range(2))
    (one,), (two,) = maker.make(first), maker.make(second)

    files = ("evidently.html", "index.html", "summary.json")
    pages = [f"reports/{made.path}/{name}" for made in (one, two) for name in files]
    assert keys(client) == [*sorted(pages), "reports/index.html", "reports/index.json"]
    assert [path for path, _ in maker.shelf.reports()] == [two.path, one.path]
    assert next(maker.shelf.reports())[1].previous == one.path
    assert not maker.make(first)[0].written
    page = client.get_object(Bucket="ours", Key=f"reports/{one.path}/index.html")
    assert page["ContentType"] == "text/html; charset=utf-8"
    assert two.path in client.get_object(Bucket="ours", Key="reports/index.html")["Body"].read().decode()

    send(100, seed=3)
    assert maker.make(first, again=True)[0].rows == 400
    assert maker.shelf.purge(DAY + timedelta(days=1, hours=1)) == [one.path]
    assert not maker.shelf.holds(one.path)
    assert maker.shelf.holds(two.path)


@pytest.mark.integration
def test_a_bucket_that_is_not_there_is_said_in_words(client: Any, maker: Maker, send: Any) -> None:
    send(300)
    with pytest.raises(ReportError, match="REPORTS_URL=s3://absent: S3 refused"):
        replace(maker, shelf=BucketShelf("s3://absent", client)).make(Window(DAY, DAY + timedelta(days=1)))


@pytest.mark.parametrize("url", ["reports", "s3://", "http://ours/reports"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(SettingError, match="REPORTS_URL"):
        BucketShelf(url)
