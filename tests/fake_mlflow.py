"""The three calls of MLflow that serving makes, answered from bundles in memory: aliases move, files can be damaged."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from churn.bundle import Bundle

ABSENT = 404, b'{"error_code":"RESOURCE_DOES_NOT_EXIST"}'


class FakeMlflow:
    """Listens on a free port of loopback until `close`. Models are known by their bundle's run id."""

    def __init__(self) -> None:
        self.aliases: dict[str, str] = {}
        self.bundles: dict[str, Bundle] = {}
        self.tags: dict[str, dict[str, str]] = {}
        self.damaged: dict[tuple[str, str], bytes] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def register(self, bundle: Bundle, alias: str | None = None, tags: dict[str, str] | None = None) -> None:
        self.bundles[bundle.run_id] = bundle
        self.tags[bundle.run_id] = tags or {}
        if alias is not None:
            self.aliases[alias] = bundle.run_id

    def damage(self, bundle: Bundle, name: str) -> None:
        """Flip one bit of one file from now on."""
        content = bytearray((bundle.folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        self.damaged[bundle.run_id, name] = bytes(content)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, target: str) -> tuple[int, bytes]:
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path == "/api/2.0/mlflow/registered-models/alias":
            run_id = self.aliases.get(query["alias"])
            return (200, json.dumps({"model_version": {"run_id": run_id}}).encode()) if run_id else ABSENT
        if parts.path == "/api/2.0/mlflow/runs/get":
            bundle = self.bundles.get(query["run_id"])
            return (200, json.dumps(_run(bundle, self.tags[bundle.run_id])).encode()) if bundle else ABSENT
        if parts.path.endswith("/artifacts/files"):
            run_id = parts.path.split("/")[-3].removeprefix("m-")
            name = query["artifact_file_path"].rpartition("/")[2]
            content = self.damaged.get((run_id, name)) or (self.bundles[run_id].folder / name).read_bytes()
            return 200, content
        return ABSENT

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        answer = self.answer

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = answer(self.path)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Silent."""

        return Handler


def _run(bundle: Bundle, more: dict[str, str]) -> dict[str, Any]:
    tags = {
        **more,
        "churnwatch.model_id": f"m-{bundle.run_id}",
        "churnwatch.bundle_digest": bundle.digest,
        "churnwatch.contract": bundle.contract.name,
        "churnwatch.contract_sha256": bundle.contract.sha256,
    }
    return {"run": {"data": {"tags": [{"key": key, "value": value} for key, value in tags.items()]}}}
