"""A tracker without MLflow: remembers what was logged, keeps bundles in a folder as MLflow would keep them."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from churn.bundle import Bundle, load_bundle
from churn.contract import Contract
from orchestration.outcome import Outcome, Trial


class MemoryTracker:
    """`begun` and `ended` are by run. Several threads may use it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.facts: Mapping[str, Any] = {}
        self.begun: dict[str, int] = {}
        self.ended: dict[str, Outcome] = {}
        self.registered: list[tuple[str, Mapping[str, float]]] = []
        self.files: list[str] = []
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def tuning(self, contract: Contract, facts: Mapping[str, Any], resumed: str | None = None) -> Iterator[str]:
        self.facts = facts
        yield resumed or "0" * 32

    def begin(self, parent_run_id: str, number: int, family: str, parameters: Mapping[str, Any]) -> str:
        with self._lock:
            run_id = f"{len(self.begun) + 1:032x}"
            self.begun[run_id] = number
        return run_id

    def end(self, run_id: str, outcome: Outcome) -> None:
        with self._lock:
            self.ended[run_id] = outcome

    def log_candidate(self, run_id: str, contract: Contract, bundle: Path, *_: Any) -> str:
        shutil.copytree(bundle, self.folder / run_id)
        return f"m-{run_id}"

    def outcomes(self, parent_run_id: str) -> list[Outcome]:
        return sorted(self.ended.values(), key=lambda one: one.number)

    def fetch(self, run_id: str, contract: str, folder: Path) -> Bundle:
        return load_bundle(self.folder / run_id)

    def log_files(self, run_id: str, folder: Path) -> None:
        self.files += sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())

    def log_table(self, run_id: str, table: Mapping[str, Any], name: str) -> None:
        self.files.append(name)

    def register(self, parent_run_id: str, contract: Contract, best: Trial, test: Mapping[str, float]) -> int:
        self.registered.append((best.run_id, test))
        return 1
