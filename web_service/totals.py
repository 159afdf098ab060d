"""One /metrics for several workers: each keeps a snapshot of its own registry in a shared folder, any of them sums.

Counters and histograms of workers that died stay in the sum (they never go back); gauges count only while their
worker lives, and of times the oldest is told, not the sum. A snapshot is at most `interval_seconds` old, so a killed
worker loses that much of its counting, never of its predictions, which the journal counts itself.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric


class WorkerTotals(threading.Thread):
    """Writes this process's snapshot now and then, and renders the sum of all. Ends with `stop`."""

    def __init__(
        self,
        registry: CollectorRegistry,
        folder: Path,
        of_the_host: Callable[[], Iterable[Metric]] = tuple,
        flush: Callable[[], None] = lambda: None,
        interval_seconds: float = 0.5,
    ) -> None:
        """`of_the_host` gives what is counted for all workers already; it is told as it is. `flush` brings the
        registry up to date."""
        super().__init__(name="totals", daemon=True)
        self._registry = registry
        self._of_the_host = of_the_host
        self._flush = flush
        self._file = folder / f"{os.getpid()}.metrics.json"
        self._folder = folder
        self._interval_seconds = interval_seconds
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(self._interval_seconds):
            self.write()

    def stop(self) -> None:
        """Stop and leave a last, exact snapshot."""
        self._stopped.set()
        self.write()

    def write(self) -> None:
        """Replace the snapshot as a whole, so that no reader sees half of one."""
        self._flush()
        families = [_as_json(metric) for metric in self._registry.collect()]
        temporary = self._file.with_suffix(f".{threading.get_ident()}.tmp")
        temporary.write_bytes(orjson.dumps({"pid": os.getpid(), "families": families}))
        temporary.replace(self._file)

    def render(self) -> bytes:
        """The text that Prometheus scrapes, summed over the workers of this service."""
        self.write()
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Sum(snapshots(self._folder), self._of_the_host()))
        return generate_latest(registry)


class _Sum:
    """A collector over snapshots."""

    def __init__(self, snapshots: Iterable[dict[str, Any]], of_the_host: Iterable[Metric]) -> None:
        self._snapshots = list(snapshots)
        self._of_the_host = of_the_host

    def collect(self) -> Iterator[Metric]:
        families: dict[str, tuple[Metric, dict[tuple[Any, ...], float]]] = {}
        for snapshot in self._snapshots:
            alive = Path(f"/proc/{snapshot['pid']}").exists()
            for family in snapshot["families"]:
                metric = Metric(family["name"], family["help"], family["type"])
                _, values = families.setdefault(family["name"], (metric, {}))
                if alive or family["type"] != "gauge":
                    _add(values, family["samples"], of_times=family["name"].endswith("_timestamp_seconds"))
        for metric, values in families.values():
            for (name, *labels), value in values.items():
                metric.add_sample(name, dict(labels), value)
            yield metric
        yield from self._of_the_host


def snapshots(folder: Path) -> Iterator[dict[str, Any]]:
    """Every worker's newest snapshot, in the order of their files."""
    for path in sorted(folder.glob("*.metrics.json")):
        yield orjson.loads(path.read_bytes())


def _as_json(metric: Metric) -> dict[str, Any]:
    samples = [[sample.name, sample.labels, sample.value] for sample in metric.samples]
    return {"name": metric.name, "help": metric.documentation, "type": metric.type, "samples": samples}


def _add(values: dict[tuple[Any, ...], float], samples: Iterable[Any], of_times: bool) -> None:
    for name, labels, value in samples:
        key = (name, *labels.items())
        values[key] = min(values.get(key, value), value) if of_times else values.get(key, 0.0) + value
