"""API keys and rate limits: who comes in, how often, and what the others are told."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from web_service.__main__ import main
from web_service.gate import Gate
from web_service.keys import FileKeyRing, KeyFile, KeyFileError
from web_service.rates import SharedRateLimit

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


class Seconds:
    """A monotonic clock that the test turns."""

    def __init__(self) -> None:
        self.time = 1_000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def locked(make_app: Any, path: Path, tmp_path: Path, seconds: Seconds) -> Any:
    gate = Gate(FileKeyRing(path, seconds), SharedRateLimit(tmp_path / "rates", seconds), per_second=100)
    return make_app(gate=gate).test_client()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_a_key_opens_the_service(path: Path, locked: Any, customer: dict[str, Any], seconds: Seconds) -> None:
    token = KeyFile(path).add("shop", NOW)
    seconds.time += 2

    assert locked.post("/predict", json=customer, headers=bearer(token)).status_code == 200
    assert locked.post("/predict", json=customer, headers={"X-API-Key": token}).status_code == 200
    assert locked.get("/model", headers=bearer(token)).status_code == 200


@pytest.mark.parametrize("path_asked", ["/predict", "/model", "/metrics", "/explain", "/feedback", "/nowhere"])
def test_without_a_key_nothing_else_is_told(locked: Any, path_asked: str) -> None:
    response = locked.get(path_asked)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="churnwatch"'
    assert response.get_json()["type"] == "urn:churnwatch:problem:no-key"


@pytest.mark.parametrize("path_asked", ["/health", "/ready", "/openapi.json", "/docs", "/"])
def test_what_is_open_stays_open(locked: Any, path_asked: str) -> None:
    assert locked.get(path_asked).status_code == 200


@pytest.mark.parametrize("header", ["Bearer cw_wrong", "Bearer ", "Basic eDp5", "", "Bearer \xff"])
def test_a_wrong_key_is_no_key(path: Path, locked: Any, header: str, seconds: Seconds) -> None:
    KeyFile(path).add("shop", NOW)
    seconds.time += 2

    assert locked.post("/predict", json={}, headers={"Authorization": header}).status_code == 401


def test_a_revoked_key_is_told_so_within_a_second(path: Path, locked: Any, seconds: Seconds) -> None:
    token = KeyFile(path).add("shop", NOW)
    seconds.time += 2
    assert locked.get("/model", headers=bearer(token)).status_code == 200
    KeyFile(path).revoke("shop", NOW)
    seconds.time += 1

    response = locked.get("/model", headers=bearer(token))

    assert response.status_code == 403
    assert "revoked at 2026-01-31T12:00:00Z" in response.get_json()["detail"]


def test_the_file_holds_no_token(path: Path) -> None:
    token = KeyFile(path).add("shop", NOW)

    assert token not in path.read_text()
    assert token[3:] not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0


def test_a_name_is_in_force_once(path: Path) -> None:
    KeyFile(path).add("shop", NOW)

    with pytest.raises(KeyFileError, match="a key of that name is in force"):
        KeyFile(path).add("shop", NOW)

    KeyFile(path).revoke("shop", NOW)
    KeyFile(path).add("shop", NOW)
    assert [key.revoked_at is None for key in KeyFile(path).all()] == [False, True]


def test_a_damaged_file_is_named(path: Path) -> None:
    path.write_text("{")

    with pytest.raises(KeyFileError, match=r"keys\.json: cannot be read as API keys"):
        KeyFile(path).all()


def test_a_key_has_its_own_rate(path: Path, locked: Any, seconds: Seconds) -> None:
    token = KeyFile(path).add("shop", NOW, rate_per_second=2)
    seconds.time += 2

    statuses = [locked.get("/model", headers=bearer(token)).status_code for _ in range(3)]
    refused = locked.get("/model", headers=bearer(token))
    seconds.time += 0.5

    assert statuses == [200, 200, 429]
    assert refused.headers["Retry-After"] == "1"
    assert locked.get("/model", headers=bearer(token)).status_code == 200


def test_a_prediction_takes_one_request_however_it_goes(
    path: Path, locked: Any, customer: dict[str, Any], seconds: Seconds
) -> None:
    """The short cut and Flask's routing share one admission: a wrong body costs no second one."""
    token = KeyFile(path).add("shop", NOW, rate_per_second=2)
    seconds.time += 2

    statuses = [locked.post("/predict", json=body, headers=bearer(token)).status_code for body in ({}, customer, {})]

    assert statuses == [422, 200, 429]


def test_workers_share_a_rate(tmp_path: Path, seconds: Seconds) -> None:
    workers = [SharedRateLimit(tmp_path / "rates", seconds) for _ in range(3)]

    waits = [workers[i % 3].take("shop", 5.0) for i in range(7)]

    assert waits == [0, 0, 0, 0, 0, pytest.approx(0.2), pytest.approx(0.2)]


def test_without_keys_the_address_is_limited(make_app: Any, tmp_path: Path, seconds: Seconds) -> None:
    gate = Gate(None, SharedRateLimit(tmp_path / "rates", seconds), per_second=1)
    client = make_app(gate=gate).test_client()

    assert [client.get("/model").status_code for _ in range(2)] == [200, 429]
    assert client.get("/health").status_code == 200


def test_the_command_line_adds_lists_and_revokes(path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setenv("WEB_KEYS_FILE", str(path))

    assert main(["keys", "add", "shop", "--rate", "50"]) == 0
    token = capsys.readouterr().out.strip()
    assert FileKeyRing(path).client(token) == "shop"
    assert main(["keys", "list"]) == 0
    listed = capsys.readouterr().out
    assert listed.startswith("shop: in force, made ")
    assert listed.endswith(", 50 requests/s\n")
    assert main(["keys", "revoke", "shop"]) == 0
    assert main(["keys", "revoke", "shop"]) == 1
    assert "no key of that name is in force" in capsys.readouterr().err
    assert len(json.loads(path.read_text())["keys"]) == 1


def test_a_key_from_a_file_is_put_in_force_once_and_replaced_by_another(path: Path, tmp_path: Path) -> None:
    keys, first, second = KeyFile(path), "cw_" + "a" * 43, "cw_" + "b" * 43

    assert keys.put("prometheus", first, NOW) is True
    assert keys.put("prometheus", first, NOW) is False
    assert FileKeyRing(path).client(first) == "prometheus"

    assert keys.put("prometheus", second, NOW) is True
    assert FileKeyRing(path).client(second) == "prometheus"
    assert [key.revoked_at is None for key in keys.all()] == [False, True]


@pytest.mark.parametrize("token", ["", "secret", "cw_short", "cw_" + "ä" * 43, "xx_" + "a" * 43])
def test_a_token_that_could_be_guessed_is_refused(path: Path, token: str) -> None:
    with pytest.raises(KeyFileError, match="at least 43 letters"):
        KeyFile(path).put("prometheus", token, NOW)

    assert KeyFile(path).all() == []


def test_the_command_puts_a_key_in_force_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WEB_KEYS_FILE", str(tmp_path / "keys.json"))
    (tmp_path / "token").write_text("cw_" + "a" * 43 + "\n")

    assert main(["keys", "put", "simulation", str(tmp_path / "token")]) == 0
    assert main(["keys", "put", "simulation", str(tmp_path / "absent")]) == 1

    printed = capsys.readouterr()
    assert printed.out == "simulation: in force\n"
    assert "absent: cannot be read as a key" in printed.err
