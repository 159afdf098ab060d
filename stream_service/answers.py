"""Answers that Lambda functions gave and kept on a stream -> the prediction log, each once by its prediction_id."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import msgspec

from churn.errors import InvalidInput
from churn.metrics import AnswerMetrics, StreamMetrics, observe_many
from churn.prediction import Prediction, from_json
from churn.raw_records import Refusal
from churn.scoring import Scorer
from churn.settings import StreamSettings
from churn.store.interface import PredictionStore
from stream_service.backoff import Persistence
from stream_service.dead_letters import DeadLetterLimit, Origin, letters
from stream_service.kinesis import Kinesis
from stream_service.parts import Parts
from stream_service.pipeline import put_all
from stream_service.records import StreamRecord

Outcome = tuple[StreamRecord, Prediction | Refusal]
UNKNOWN = "?"


class AnswerPipeline:
    """Carries batches of one shard into the log. What is no answer is set aside. Not shared between threads."""

    def __init__(
        self,
        *,
        kinesis: Kinesis,
        stream: str,
        dead_letters: str,
        store: PredictionStore,
        limit: DeadLetterLimit,
        metrics: StreamMetrics,
        answers: AnswerMetrics,
        persistence: Persistence,
        now: Callable[[], datetime],
    ) -> None:
        self._kinesis = kinesis
        self._stream = stream
        self._dead_letters = dead_letters
        self._store = store
        self._limit = limit
        self._metrics = metrics
        self._answers = answers
        self._persistence = persistence
        self._now = now

    def prepare(self, records: Sequence[StreamRecord]) -> Callable[[], None]:
        """Reads the answers; what is returned brings them to the log."""
        return partial(self._effects, [(record, read_answer(record.data)) for record in records])

    def _effects(self, outcomes: list[Outcome]) -> None:
        """As the other pipeline's: raises TooManyDeadLetters before any effect, or Stopped between two of them."""
        self._limit.admit([isinstance(outcome, Refusal) for _, outcome in outcomes])
        predictions = [outcome for _, outcome in outcomes if isinstance(outcome, Prediction)]
        try:
            self._save(predictions)
        except InvalidInput:  # one that the store can never hold must not block the others
            outcomes = [(record, self._saved_alone(outcome)) for record, outcome in outcomes]
        self._set_aside(outcomes)
        self._count([outcome for _, outcome in outcomes if isinstance(outcome, Prediction)])

    def _save(self, predictions: list[Prediction]) -> None:
        if predictions:
            self._persistence.until_done("save", lambda: self._store.save(predictions))

    def _saved_alone(self, outcome: Prediction | Refusal) -> Prediction | Refusal:
        try:
            self._save([outcome] if isinstance(outcome, Prediction) else [])
        except InvalidInput as error:
            return Refusal("wrong_fields", str(error))
        return outcome

    def _set_aside(self, outcomes: list[Outcome]) -> None:
        origin = Origin(self._stream, UNKNOWN, UNKNOWN, UNKNOWN)
        refused = [(record, outcome) for record, outcome in outcomes if isinstance(outcome, Refusal)]
        entries = [entry for record, why in refused for entry in letters(origin, record, why, self._now())]
        put_all(self._kinesis, self._persistence, self._dead_letters, entries)
        for _, refusal in refused:
            self._metrics.dead_letters.labels(refusal.reason).inc()

    def _count(self, predictions: list[Prediction]) -> None:
        of_run: dict[tuple[str, str], list[Prediction]] = defaultdict(list)
        for one in predictions:
            of_run[one.route, one.model_run_id].append(one)
        for (route, run_id), answered in of_run.items():
            self._answers.predictions.labels(route, run_id, "answered").inc(len(answered))
            probabilities = [one.churn_probability for one in answered]
            observe_many(self._answers.probability.labels(route, run_id), probabilities)
            observe_many(self._answers.seconds.labels(route), [one.latency_seconds for one in answered])


@dataclass(frozen=True)
class ShippingParts(Parts):
    """Parts whose pipeline logs answers instead of making them."""

    def pipeline(self, settings: StreamSettings, limit: DeadLetterLimit, persistence: Persistence) -> AnswerPipeline:
        return AnswerPipeline(
            kinesis=self.kinesis,
            stream=settings.input_stream,
            dead_letters=settings.dead_letter_stream,
            store=self.store,
            limit=limit,
            metrics=self.metrics,
            answers=self.answers,
            persistence=persistence,
            now=self.now,
        )


def no_scorer() -> Scorer:
    """What the parts of a shipping service hold in place of a model."""
    raise AssertionError("answers are brought to the log as they are, never scored")


def shipping(settings: StreamSettings) -> StreamSettings:
    """The settings of a service that reads answers: there is nothing that it would publish."""
    return settings.model_copy(
        update={"input_stream": settings.answers_stream, "results_stream": settings.answers_stream}
    )


def read_answer(data: bytes) -> Prediction | Refusal:
    """A record of the stream of answers, or why it is none."""
    try:
        prediction = from_json(data)
    except msgspec.ValidationError as error:
        return Refusal("wrong_fields", f"no prediction: {error}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Refusal("not_json", str(error))
    moments = (prediction.created_at, prediction.event_time)
    if any(moment is not None and moment.tzinfo is None for moment in moments):
        return Refusal("wrong_fields", "no prediction: a time without its zone")
    return prediction
