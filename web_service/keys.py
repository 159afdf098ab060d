"""API keys: made, listed and revoked by the command line, checked by every worker.

A key is 256 random bits, so a plain sha256 keeps it: there is nothing to guess that salt or a slow hash would slow
down, and a slow one would cost every request its time. The file holds names and hashes only; it is read again when it
changes, so that a revoked key stops working within a second, in every worker, without a restart.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

import structlog

from churn.errors import ChurnwatchError
from churn.serving import rfc3339
from web_service.problems import Problem

log = structlog.get_logger()
PREFIX = "cw_"
"""Tells a leaked key's origin to whoever finds it, and to scanners."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
TOKEN = re.compile(PREFIX + r"[A-Za-z0-9_-]{43,128}")
LOOK_EVERY_SECONDS = 1.0


class KeyFileError(ChurnwatchError):
    """A key cannot be made, found or read."""


@dataclass(frozen=True)
class Key:
    """What is kept of a key. `rate_per_second` is its own limit; None for the service's."""

    name: str
    sha256: str
    created_at: str
    revoked_at: str | None = None
    rate_per_second: float | None = None


class KeyFile:
    """The file of keys. Changes are whole and one at a time, also from several shells."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def all(self) -> list[Key]:
        """All keys, the revoked too, in the order they were made. Raises KeyFileError for a file that is damaged."""
        try:
            return [Key(**key) for key in json.loads(self.path.read_bytes())["keys"]]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise KeyFileError(
                f"{self.path}: cannot be read as API keys ({error}); restore it, or delete it"
            ) from error

    def add(self, name: str, now: datetime, rate_per_second: float | None = None) -> str:
        """Make a key and return its token, which is kept nowhere."""
        if not NAME.fullmatch(name):
            raise KeyFileError(f"name='{name}': expected 1 to 64 letters, digits, '.', '_' or '-'")
        if rate_per_second is not None and not 0 < rate_per_second < 1e9:
            raise KeyFileError(f"rate={rate_per_second}: expected requests a second, above 0")
        token = PREFIX + secrets.token_urlsafe(32)
        with self._changing() as keys:
            if any(key.name == name and key.revoked_at is None for key in keys):
                raise KeyFileError(f"name='{name}': a key of that name is in force; revoke it first, or take another")
            keys.append(Key(name, digest(token), rfc3339(now), None, rate_per_second))
        return token

    def put(self, name: str, token: str, now: datetime) -> bool:
        """Put a token that was made elsewhere in force, in the place of the one before; False when it was already.

        Whoever starts services may so bring keys along, at every start again. Raises KeyFileError for a weak token.
        """
        if not NAME.fullmatch(name) or not TOKEN.fullmatch(token):
            raise KeyFileError(
                f"name='{name}': expected {PREFIX} and at least 43 letters, digits, '-' or '_' as its key"
            )
        with self._changing() as keys:
            for index, key in enumerate(keys):
                if key.name == name and key.revoked_at is None:
                    if hmac.compare_digest(key.sha256, digest(token)):
                        return False
                    keys[index] = replace(key, revoked_at=rfc3339(now))
            keys.append(Key(name, digest(token), rfc3339(now)))
        return True

    def revoke(self, name: str, now: datetime) -> None:
        """End a key. Raises KeyFileError when none of that name is in force."""
        with self._changing() as keys:
            for index, key in enumerate(keys):
                if key.name == name and key.revoked_at is None:
                    keys[index] = replace(key, revoked_at=rfc3339(now))
                    return
            raise KeyFileError(f"name='{name}': no key of that name is in force; see 'python -m web_service keys list'")

    @contextmanager
    def _changing(self) -> Iterator[list[Key]]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise KeyFileError(f"{self.path}: cannot be written ({error.strerror}); set WEB_KEYS_FILE") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            keys = self.all()
            yield keys
            self._write(keys)
        finally:
            os.close(lock)

    def _write(self, keys: list[Key]) -> None:
        document = {"keys": [asdict(key) for key in keys]}
        with tempfile.NamedTemporaryFile("w", dir=self.path.parent, prefix=".keys-", delete=False) as file:
            json.dump(document, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).replace(self.path)


class FileKeyRing:
    """What the gate asks: whose key is this, and how often may they come. Follows the file's changes."""

    def __init__(self, path: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._file = KeyFile(path)
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._looked = -LOOK_EVERY_SECONDS
        self._version: tuple[int, int, int] | None = None
        self._keys: list[tuple[bytes, Key]] = []
        self._rates: dict[str, float | None] = {}
        self._look()

    def client(self, token: str) -> str | None:
        """The holder's name, None for no key of ours. Raises Problem for one that was revoked."""
        self._look()
        presented = digest(token).encode()
        found: Key | None = None
        for sha256, key in self._keys:  # all of them, always: the time tells nothing about which fits
            if hmac.compare_digest(sha256, presented):
                found = key
        if found is not None and found.revoked_at is not None:
            raise Problem("key-revoked", f"the key '{found.name}' was revoked at {found.revoked_at}")
        return found.name if found else None

    def rate(self, client: str) -> float | None:
        return self._rates.get(client)

    def _look(self) -> None:
        """Read the file again when it changed. A damaged file changes nothing: the keys of before hold."""
        if self._monotonic() - self._looked < LOOK_EVERY_SECONDS:
            return
        with self._lock:
            self._looked = self._monotonic()
            version = _version(self._file.path)
            if version == self._version:
                return
            try:
                keys = self._file.all()
            except KeyFileError as error:
                if self._version is None:
                    raise
                log.error("keys_not_read", reason=str(error))
                return
            self._keys = [(key.sha256.encode(), key) for key in keys]
            self._rates = {key.name: key.rate_per_second for key in keys if key.revoked_at is None}
            self._version = version


def digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def _version(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
