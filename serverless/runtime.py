"""Lambda's runtime interface for container images: takes one event after another, hands each to a handler.

python -m serverless.runtime serverless.stream.handler
"""

from __future__ import annotations

import http.client
import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from serverless.lines import log

VERSION = "/2018-06-01/runtime"
Handler = Callable[[Any, Any], Any]


class Context:
    """What a handler may ask about its invocation."""

    def __init__(self, request_id: str, deadline_milliseconds: int) -> None:
        self.aws_request_id = request_id
        self._deadline = deadline_milliseconds

    def get_remaining_time_in_millis(self) -> int:
        return max(0, self._deadline - time.time_ns() // 1_000_000)


class Runtime:
    """Lambda's side, at HOST:PORT."""

    def __init__(self, address: str) -> None:
        self._connection = http.client.HTTPConnection(address)

    def invoke(self, handler: Handler) -> None:
        """Wait for one event and answer it; what the handler raises is told, and the next event may fare better."""
        self._connection.request("GET", f"{VERSION}/invocation/next")
        answer = self._connection.getresponse()
        body = answer.read()
        request_id = answer.getheader("Lambda-Runtime-Aws-Request-Id") or ""
        if trace := answer.getheader("Lambda-Runtime-Trace-Id"):
            os.environ["_X_AMZN_TRACE_ID"] = trace
        context = Context(request_id, int(answer.getheader("Lambda-Runtime-Deadline-Ms") or 0))
        try:
            result = json.dumps(handler(json.loads(body), context)).encode()
        except Exception as error:
            log("handler_failed", request_id=request_id, trace=traceback.format_exc())
            self._post(f"invocation/{request_id}/error", *_told(error))
        else:
            self._post(f"invocation/{request_id}/response", result)

    def cannot_start(self, error: Exception) -> None:
        self._post("init/error", *_told(error))

    def _post(self, where: str, body: bytes, kind: str = "") -> None:
        headers = {"Lambda-Runtime-Function-Error-Type": kind} if kind else {}
        self._connection.request("POST", f"{VERSION}/{where}", body, headers)
        self._connection.getresponse().read()


def find(name: str) -> Handler:
    """package.module.function"""
    module, _, function = name.rpartition(".")
    found: Handler = getattr(importlib.import_module(module), function)
    return found


def main(name: str) -> None:
    runtime = Runtime(os.environ["AWS_LAMBDA_RUNTIME_API"])
    try:
        handler = find(name)
    except Exception as error:
        runtime.cannot_start(error)
        raise
    while True:
        runtime.invoke(handler)


def _told(error: Exception) -> tuple[bytes, str]:
    kind = type(error).__name__
    return json.dumps({"errorType": kind, "errorMessage": str(error), "stackTrace": []}).encode(), kind


if __name__ == "__main__":
    main(sys.argv[1])
