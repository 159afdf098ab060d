"""Addresses: the right home for each, and one clear sentence for what cannot work."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from churn.errors import StoreUnavailable
from churn.store import open_store


@pytest.mark.parametrize(
    "url", ["", "store.db", "postgres://host/db", "sqlite://store.db", "sqlite:///", "http://localhost"]
)
def test_an_address_that_names_no_store_says_what_was_expected(url: str) -> None:
    with pytest.raises(StoreUnavailable, match="expected sqlite:///PATH or mongodb://"):
        open_store(url)


def test_a_password_in_a_wrong_address_is_not_shown() -> None:
    with pytest.raises(StoreUnavailable) as caught:
        open_store("postgres://user:s3cret@host/db")

    assert "s3cret" not in str(caught.value)
    assert "***@host/db" in str(caught.value)


def test_three_slashes_are_a_relative_path_and_four_an_absolute_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    for url in ("sqlite:///folder/one%20two.db", f"sqlite:///{tmp_path}/absolute.db"):
        store = open_store(url)
        store.check()
        store.close()

    assert sorted(p.name for p in tmp_path.rglob("*.db")) == ["absolute.db", "one two.db"]


def test_a_mongodb_address_that_cannot_be_parsed_is_refused_without_its_password() -> None:
    with pytest.raises(StoreUnavailable, match="STORE_URL") as caught:
        open_store("mongodb://user:s3cr:et@host:notaport/db")

    assert "s3cr" not in str(caught.value)


def test_a_mongodb_that_is_not_there_is_said_within_the_timeout() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    store = open_store(f"mongodb://127.0.0.1:{port}/churnwatch", timeout_seconds=0.3)

    with pytest.raises(StoreUnavailable, match="cannot be reached; check STORE_URL"):
        store.check()
    with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{port}"):
        store.get("anything")
    store.close()


def test_a_mongodb_that_accepts_and_never_answers_is_given_up() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        store = open_store(f"mongodb://127.0.0.1:{silent.getsockname()[1]}/churnwatch", timeout_seconds=0.3)

        with pytest.raises(StoreUnavailable):
            store.check()
        store.close()


def test_a_user_where_none_can_be_is_said_clearly() -> None:
    address = os.environ.get("MONGODB_URI")
    if not address:
        pytest.skip("MONGODB_URI is not set: no MongoDB to test against")
    host = address.removeprefix("mongodb://").strip("/")
    store = open_store(f"mongodb://somebody:wr0ng@{host}/churnwatch", timeout_seconds=2)

    with pytest.raises(StoreUnavailable) as caught:
        store.check()

    assert "MongoDB" in str(caught.value)
    assert "wr0ng" not in str(caught.value)
    store.close()
