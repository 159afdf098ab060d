"""What a request does, without HTTP: parsed body -> scored -> logged -> answered, for both ways in alike."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Protocol

import orjson

from churn.errors import InvalidInput, JournalFull
from churn.metrics import AnswerMetrics
from churn.prediction import Prediction, Route, answer, derived_id, to_json
from churn.scoring import Prepared
from web_service.combiner import Combiner
from web_service.problems import Problem, invalid_fields
from web_service.serving import Serving, ServingModel

ROUTE: Route = "http"


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
        self.refusal: str | None = None
        """Why the journal refused the newest append, or None."""
        self._combiner = Combiner(self._together)
        self._seconds = metrics.seconds.labels(ROUTE)

    def predict(self, body: Any, client: str = "", key: str | None = None) -> bytes:
        """The JSON answer to a parsed body: an object for an object, a list for a list.

        A list is answered as a whole or not at all, so that a caller never has to find out which items were logged.
        `client` and `key` are who sent an Idempotency-Key and which. Raises Problem, InvalidInput, JournalFull.
        """
        started = time.perf_counter()
        if type(body) is dict:
            return orjson.dumps(answer(self._answer_one(body, client, key, started)))
        if type(body) is not list:
            raise Problem("invalid-fields", "expected an object with the contract's fields, or a list of such objects")
        if len(body) > self.list_limit:
            detail = f"a list of {len(body)} items; at most {self.list_limit} are taken at once, send it in parts"
            raise Problem("too-large", detail)
        return orjson.dumps([answer(prediction) for prediction in self._answer_list(body, client, key, started)])

    def count_refused(self, body: Any, error: Exception) -> None:
        """Count the records of a body that was refused; the one who tells the caller counts, so it is counted once."""
        outcome = "not_logged" if isinstance(error, JournalFull) else "invalid"
        self._count(self.model.current.bundle.run_id, outcome, len(body) if type(body) is list else 1)

    def _answer_one(self, record: dict[str, Any], client: str, key: str | None, started: float) -> Prediction:
        serving = self.model.current
        prepared = serving.scorer.prepare(record, self._identity(serving, record, client, key, 0))
        return self._combiner.run((serving, prepared, started))

    def _together(self, works: Sequence[tuple[Serving, Prepared, float]]) -> list[Prediction]:
        """Score and log one group. Its members share a model, but for the moment of a swap."""
        serving, _, started = works[0]
        if all(work[0] is serving for work in works):
            predictions = serving.scorer.score_prepared([work[1] for work in works], ROUTE, started)
        else:
            predictions = [
                one for s, prepared, began in works for one in s.scorer.score_prepared([prepared], ROUTE, began)
            ]
        self._log(predictions)
        self._observe(predictions, [work[2] for work in works])
        return predictions

    def _log(self, predictions: Sequence[Prediction]) -> None:
        try:
            self.journal.append([to_json(prediction) for prediction in predictions])
        except JournalFull as error:
            self.refusal = str(error)
            raise
        self.refusal = None

    def _answer_list(
        self, records: Sequence[Any], client: str, key: str | None, started: float
    ) -> Sequence[Prediction]:
        serving = self.model.current
        for index, record in enumerate(records):
            if type(record) is not dict:
                raise Problem("invalid-fields", f"item {index}: expected an object with the contract's fields")
        ids = [self._identity(serving, record, client, key, index) for index, record in enumerate(records)]
        outcomes = serving.scorer.score(records, ROUTE, ids)
        wrong = [(index, outcome) for index, outcome in enumerate(outcomes) if isinstance(outcome, InvalidInput)]
        if wrong:
            raise invalid_fields(wrong)
        predictions: Sequence[Prediction] = outcomes  # type: ignore[assignment]  # none is InvalidInput
        self._log(predictions)
        self._observe(predictions, [started] * len(predictions))
        return predictions

    def _identity(
        self, serving: Serving, record: Mapping[str, Any], client: str, key: str | None, index: int
    ) -> str | None:
        event_id = record.get("event_id")
        if event_id is not None:
            return derived_id("event", serving.bundle.contract.name, str(event_id))
        return derived_id("key", client, key, str(index)) if key is not None else None

    def _observe(self, predictions: Sequence[Prediction], started: Sequence[float]) -> None:
        """Count durable answers; those of a moment share their model, but for the moment of a swap."""
        now = time.perf_counter()
        for run_id, answered in groupby(predictions, lambda prediction: prediction.model_run_id):
            probabilities = [prediction.churn_probability for prediction in answered]
            self._count(run_id, "answered", len(probabilities))
            observe = self.metrics.probability.labels(ROUTE, run_id).observe
            for probability in probabilities:
                observe(probability)
        for began in started:
            self._seconds.observe(now - began)

    def _count(self, run_id: str, outcome: str, records: int) -> None:
        self.metrics.predictions.labels(ROUTE, run_id, outcome).inc(records)
