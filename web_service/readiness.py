"""Whether the service can answer, part by part: what GET /ready tells."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from churn.errors import JournalFull, StoreUnavailable
from churn.serving import ServingModel
from churn.store.interface import PredictionStore

PROBE_BYTES = 1 << 16


class Writable(Protocol):
    def check(self) -> None:
        """Raises JournalFull when the next append could not be made durable."""


class JournalProbe:
    """After a refused append, tries the disk itself: a service out of rotation gets no other chance to recover."""

    def __init__(self, directory: Path, refusal: Callable[[], str | None]) -> None:
        self._directory = directory
        self._refusal = refusal

    def check(self) -> None:
        reason = self._refusal()
        if reason is None:
            return
        try:
            with tempfile.TemporaryFile(dir=self._directory) as file:
                file.write(bytes(PROBE_BYTES))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise JournalFull(reason) from error


class Readiness:
    """Looks at each part. A store that is away does not make us unready: answers wait in the journal meanwhile."""

    def __init__(
        self,
        model: ServingModel,
        journal: Writable,
        store: PredictionStore,
        monotonic: Callable[[], float] = time.monotonic,
        store_every_seconds: float = 5.0,
    ) -> None:
        self._model, self._journal, self._store = model, journal, store
        self._monotonic, self._store_every_seconds = monotonic, store_every_seconds
        self._store_seen: tuple[float, dict[str, Any]] | None = None
        self._looking = threading.Lock()

    def check(self) -> dict[str, Any]:
        """`ready` and what each part says. 503 belongs to ready=false."""
        model, journal, store = self._model_state(), self._journal_state(), self._store_state()
        return {"ready": journal["ok"], "model": model, "journal": journal, "store": store}

    def _model_state(self) -> dict[str, Any]:
        state: dict[str, Any] = {"ok": self._model.refusal is None, "model_run_id": self._model.current.bundle.run_id}
        if self._model.refusal is not None:
            state["reason"] = f"serving the old model; {self._model.refusal['reason']}"
        return state

    def _journal_state(self) -> dict[str, Any]:
        try:
            self._journal.check()
        except JournalFull as error:
            return {"ok": False, "reason": str(error)}
        return {"ok": True}

    def _store_state(self) -> dict[str, Any]:
        """Looked at now and then and by one thread only; the others get what was last seen, and nobody waits twice."""
        if self._looking.acquire(blocking=False):
            try:
                now = self._monotonic()
                if self._store_seen is None or now - self._store_seen[0] >= self._store_every_seconds:
                    state = self._look()
                    self._store_seen = self._monotonic(), state
            finally:
                self._looking.release()
        return self._store_seen[1] if self._store_seen else {"ok": False, "reason": "being looked at"}

    def _look(self) -> dict[str, Any]:
        try:
            self._store.check()
        except StoreUnavailable as error:
            return {"ok": False, "reason": f"answers wait in the journal; {error}"}
        return {"ok": True}
