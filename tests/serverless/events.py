"""Events as API Gateway sends them, and a fake clock's worth of what a function holds."""

from __future__ import annotations

from typing import Any


def http_api(body: str, method: str = "POST", path: str = "/predict", **more: Any) -> dict[str, Any]:
    """Of an HTTP API, payload format 2.0."""
    context = {"http": {"method": method, "path": path}, "requestId": "r-2"}
    return {"version": "2.0", "rawPath": path, "requestContext": context, "body": body, **more}


def rest_api(body: str, method: str = "POST", path: str = "/predict", **more: Any) -> dict[str, Any]:
    """Of a REST API, payload format 1.0."""
    context = {"requestId": "r-1", "stage": "prod"}
    return {
        "httpMethod": method,
        "path": path,
        "requestContext": context,
        "body": body,
        "isBase64Encoded": False,
        **more,
    }
