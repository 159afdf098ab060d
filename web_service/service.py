"""What a request does, without HTTP: parsed body -> scored -> logged -> answered. Both ways in use it, so both agree."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import orjson

from churn.errors import InvalidInput, JournalFull
from churn.metrics import AnswerMetrics
from churn.prediction import Prediction, answer, derived_id, to_json
from web_service.problems import Problem, invalid_fields
from web_service.serving import Serving, ServingModel

ROUTE = "http"


class Journal(Protocol):
    """The durable queue in front of the store, as far as a request needs it."""

    def append(self, payloads: Sequence[bytes]) -> None:
        """Return once the payloads are durable. Raises JournalFull when they are not."""


class PredictionService:
    """Answers predictions and logs each before it is given. Safe to share between threads."""

    def __init__(self, model: ServingModel, journal: Journal, metrics: AnswerMetrics, list_limit: int) -> None:
        self.model = model
        self.journal = journal
        self.metrics = metrics
        self.list_limit = list_limit
        self._seconds = metrics.seconds.labels(ROUTE)

    def predict(self, body: Any, client: str = "", key: str | None = None) -> bytes:
        """The JSON answer to a parsed body: an object for an object, a list for a list.

        A list is answered as a whole or not at all, so that a caller never has to find out which items were logged.
        `client` and `key` are who sent an Idempotency-Key and which. Raises Problem, InvalidInput, JournalFull.
        """
        started = time.perf_counter()
        if type(body) is dict:
            predictions = self._answered([body], None, client, key, started)
            return orjson.dumps(answer(predictions[0]))
        if type(body) is not list:
            raise Problem("invalid-fields", "expected an object with the contract's fields, or a list of such objects")
        if len(body) > self.list_limit:
            detail = f"a list of {len(body)} items; at most {self.list_limit} are taken at once, send it in parts"
            raise Problem("too-large", detail)
        predictions = self._answered(body, len(body), client, key, started)
        return orjson.dumps([answer(prediction) for prediction in predictions])

    def count_refused(self, body: Any, error: Exception) -> None:
        """Count the records of a body that was refused; the one who tells the caller counts, so it is counted once."""
        outcome = "not_logged" if isinstance(error, JournalFull) else "invalid"
        self._count(self.model.current, outcome, len(body) if type(body) is list else 1)

    def _answered(
        self, records: Sequence[Any], listed: int | None, client: str, key: str | None, started: float
    ) -> list[Prediction]:
        serving = self.model.current
        predictions = self._scored(serving, records, listed, client, key)
        self.journal.append([to_json(prediction) for prediction in predictions])
        self._observe(serving, predictions, time.perf_counter() - started)
        return predictions

    def _scored(
        self, serving: Serving, records: Sequence[Any], listed: int | None, client: str, key: str | None
    ) -> list[Prediction]:
        for index, record in enumerate(records):
            if type(record) is not dict:
                raise Problem("invalid-fields", f"item {index}: expected an object with the contract's fields")
        ids = [self._identity(record, client, key, index) for index, record in enumerate(records)]
        outcomes = serving.scorer.score(records, "http", ids)
        wrong = [(index, outcome) for index, outcome in enumerate(outcomes) if isinstance(outcome, InvalidInput)]
        if wrong:
            raise invalid_fields([(None if listed is None else index, error) for index, error in wrong])
        return outcomes  # type: ignore[return-value]  # none is InvalidInput

    def _identity(self, record: Mapping[str, Any], client: str, key: str | None, index: int) -> str | None:
        event_id = record.get("event_id")
        if event_id is not None:
            return derived_id("event", self.model.current.bundle.contract.name, str(event_id))
        return derived_id("key", client, key, str(index)) if key is not None else None

    def _observe(self, serving: Serving, predictions: Sequence[Prediction], seconds: float) -> None:
        self._count(serving, "answered", len(predictions))
        probability = self.metrics.probability.labels(ROUTE, serving.bundle.run_id)
        for prediction in predictions:
            self._seconds.observe(seconds)
            probability.observe(prediction.churn_probability)

    def _count(self, serving: Serving, outcome: str, records: int) -> None:
        self.metrics.predictions.labels(ROUTE, serving.bundle.run_id, outcome).inc(records)
