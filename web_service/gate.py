"""Who may come in, and how often: API keys and rate limits."""

from __future__ import annotations

import math
from typing import Any, Protocol

from web_service.problems import Problem

CLIENT = "churnwatch.client"
"""Where a request's environment holds its admitted client: no header can set it."""
OPEN_PATHS = frozenset({"/", "/health", "/ready", "/docs", "/openapi.json"})
"""What needs no key: whether the service lives, and what it looks like. Nothing about customers."""
OPEN_PREFIXES = ("/static/", "/docs/")


class KeyRing(Protocol):
    def client(self, token: str) -> str | None:
        """The name of the key's holder; None when no such key is. Raises Problem when it was revoked."""

    def rate(self, client: str) -> float | None:
        """The holder's own limit in requests a second; None for the service's."""


class RateLimit(Protocol):
    def take(self, client: str, per_second: float) -> float:
        """Take one request; the seconds to wait when there is none left, else 0."""


class Gate:
    """Admits requests. With no key ring everybody may come in; with no limit, as often as they like."""

    def __init__(self, keys: KeyRing | None = None, limit: RateLimit | None = None, per_second: float = 0.0) -> None:
        self.keys = keys
        self._limit = limit
        self._per_second = per_second

    def admit(self, environ: dict[str, Any]) -> str:
        """The client's name (empty without keys), taken off its rate, unless the environment says that it was admitted
        before. Raises Problem: no-key, key-revoked, too-many-requests."""
        if CLIENT in environ:
            return str(environ[CLIENT])
        path = environ["PATH_INFO"]
        if path in OPEN_PATHS or path.startswith(OPEN_PREFIXES):
            return ""
        token = token_of(environ.get("HTTP_X_API_KEY", ""), environ.get("HTTP_AUTHORIZATION", ""))
        return self.admit_token(token, environ.get("REMOTE_ADDR", ""))

    def admit_token(self, token: str, address: str) -> str:
        """As `admit`, for a path that is not open. `address` is counted where nobody shows a key."""
        client, rate = "", self._per_second
        if self.keys is not None:
            client = self._holder(token)
            own = self.keys.rate(client)
            rate = self._per_second if own is None else own
        if self._limit is not None and rate > 0:
            wait_seconds = self._limit.take(client or f"address {address}", rate)
            if wait_seconds > 0:
                detail = f"more than {rate:g} requests a second; wait {wait_seconds:.2f} s"
                raise Problem("too-many-requests", detail, retry_after_seconds=math.ceil(wait_seconds))
        return client

    def _holder(self, token: str) -> str:
        client = self.keys.client(token) if self.keys is not None and token else None
        if client is None:
            detail = "send a key as 'Authorization: Bearer KEY'; keys are made by 'python -m web_service keys add NAME'"
            raise Problem("no-key", detail, headers={"WWW-Authenticate": 'Bearer realm="churnwatch"'})
        return client


def token_of(x_api_key: str, authorization: str) -> str:
    """The API key that a request shows in either header; empty for none."""
    if x_api_key:
        return x_api_key
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
