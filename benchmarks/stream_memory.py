"""The stream service over a million records: a process of its own, its real store, its memory as the system sees it."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.stream_end_to_end import EPHEMERAL, free_port, running_service, wait_until
from churn.bundle import Bundle

SHARDS = 2


def memory(model: Bundle, folder: Path, data: list[bytes], count: int) -> dict[str, Any]:
    """Resident memory at every tenth of `count` records answered, with store and results on."""
    payloads = folder / "payloads.jsonl"
    payloads.write_bytes(b"\n".join(data))
    port = free_port()
    program = [sys.executable, "-m", "benchmarks.endless_stream", str(payloads), str(SHARDS)]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as kinesis:
        assert kinesis.stdout is not None
        url = kinesis.stdout.readline().strip()
        settings = EPHEMERAL | {"AWS_ENDPOINT_URL": url, "STREAM_METRICS_PORT": str(port)}
        with running_service(model, folder / "memory", settings) as service:
            wait_until(lambda: _answered(port) > 0, 60)
            began, samples = time.monotonic(), []
            for tenth in range(1, 11):
                wait_until(lambda: _answered(port) >= count * tenth / 10, 600)  # noqa: B023 waited for at once
                samples.append(_resident_mb(service.pid))
            seconds = time.monotonic() - began
        assert kinesis.stdin is not None
        kinesis.stdin.close()
    growth = samples[-1] / samples[0] - 1
    print(
        f"  memory of the running service over {count:,} records ({seconds:.0f} s): {samples[0]:.0f} MB after a tenth, "
        f"{samples[-1]:.0f} MB at the end, {max(samples):.0f} MB at most"
    )
    return {
        "records": count,
        "resident_mb": [round(sample, 1) for sample in samples],
        "growth": round(growth, 4),
        "per_second": round(count / seconds),
    }


def _answered(port: int) -> float:
    """0 until the service answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    except OSError:
        return 0.0
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "churnwatch_stream_results_total"
    )


def _resident_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024
