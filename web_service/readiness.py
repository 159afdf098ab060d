"""Whether the service can answer, part by part: what GET /ready tells."""

from __future__ import annotations

from typing import Any, Protocol

from web_service.serving import ServingModel


class JournalState(Protocol):
    def stats(self) -> Any: ...


class Readiness:
    """Looks at each part. The store may be away: answers wait in the journal, so that alone never takes us down."""

    def __init__(self, model: ServingModel, journal: JournalState) -> None:
        self._model = model
        self._journal = journal

    def check(self) -> dict[str, Any]:
        raise NotImplementedError
