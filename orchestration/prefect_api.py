"""A run of a deployment, asked for over Prefect's REST API: the receiver needs two calls and not Prefect itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import urllib3

from churn.errors import ChurnwatchError


class PrefectRefused(ChurnwatchError):
    """Prefect cannot be reached, knows no such deployment, or did not take the run."""


def run_deployment(api_url: str, name: str, parameters: Mapping[str, Any]) -> str:
    """Create a flow run of FLOW/DEPLOYMENT and return its id at once. Raises PrefectRefused."""
    address = api_url.rstrip("/")
    pool = urllib3.PoolManager(timeout=5.0, retries=urllib3.Retry(2, backoff_factor=0.2))
    try:
        found = pool.request("GET", f"{address}/deployments/name/{name}")
        if found.status == 404:
            raise PrefectRefused(
                f"Prefect at {address} knows no deployment {name}; run 'python -m orchestration serve'"
            )
        deployment = _document(found, address)["id"]
        made = pool.request(
            "POST", f"{address}/deployments/{deployment}/create_flow_run", json={"parameters": parameters}
        )
        return str(_document(made, address)["id"])
    except urllib3.exceptions.HTTPError as error:
        reason = getattr(error, "reason", None) or error
        raise PrefectRefused(f"Prefect at {address} cannot be reached ({reason}); start it") from error


def _document(response: urllib3.BaseHTTPResponse, address: str) -> dict[str, Any]:
    if response.status < 300:
        document = json.loads(response.data)
        if isinstance(document, dict):
            return document
    raise PrefectRefused(f"Prefect at {address} answered {response.status}: {response.data[:200]!r}")
