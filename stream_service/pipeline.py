"""What happens to a batch: scored, logged, published, its dead letters set aside. The checkpoint is the worker's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import NamedTuple, Protocol

from churn.bundle import Bundle
from churn.errors import InvalidInput
from churn.metrics import AnswerMetrics, StreamMetrics, observe_many
from churn.prediction import Prediction, answer_json
from churn.raw_records import RawRecord, Refusal, score_raw
from churn.scoring import Scorer
from churn.store.interface import PredictionStore
from stream_service.aggregation import BadAggregate, is_aggregated, unpack
from stream_service.backoff import Persistence
from stream_service.dead_letters import DeadLetterLimit, Origin, letters
from stream_service.kinesis import Kinesis
from stream_service.records import Entry, StreamRecord


class Streams(NamedTuple):
    """The names of the three streams."""

    input: str
    results: str
    dead_letters: str


class Pipeline:
    """Scores one shard's batches and carries them through their effects. One thread may score while another carries."""

    def __init__(
        self,
        *,
        kinesis: Kinesis,
        streams: Streams,
        store: PredictionStore,
        current_scorer: Callable[[], Scorer],
        limit: DeadLetterLimit,
        metrics: StreamMetrics,
        answers: AnswerMetrics,
        persistence: Persistence,
        longest_bytes: int,
        now: Callable[[], datetime],
    ) -> None:
        self._kinesis = kinesis
        self._streams = streams
        self._store = store
        self._current_scorer = current_scorer
        self._limit = limit
        self._metrics = metrics
        self._answers = answers
        self._persistence = persistence
        self._longest_bytes = longest_bytes
        self._now = now

    def prepare(self, records: Sequence[StreamRecord]) -> Callable[[], None]:
        """Scores the batch, by the model in force now; what is returned carries it through its effects."""
        scorer = self._current_scorer()
        outcomes = score_batch(scorer, self._streams.input, records, self._longest_bytes)
        return partial(self._effects, scorer.bundle, outcomes)

    def _effects(self, bundle: Bundle, outcomes: list[Outcome]) -> None:
        """In their order, each until it succeeds.

        Raises TooManyDeadLetters before any effect, or Stopped between two of them; either way the batch must not
        be checkpointed, and its redelivery repeats the same predictions.
        """
        self._limit.admit([isinstance(outcome, Refusal) for _, outcome in outcomes])
        outcomes, logged = self._log(outcomes)
        self._publish(outcomes, logged)
        self._set_aside(bundle, outcomes)
        self._count(outcomes, bundle.run_id)

    def _log(self, outcomes: list[Outcome]) -> tuple[list[Outcome], dict[str, Prediction]]:
        """Log what was answered; returns the outcomes, and those predictions of the log that an earlier delivery made.

        A record that the store can never hold becomes a refusal, so that it cannot block the others.
        """
        predictions = [outcome for _, outcome in outcomes if isinstance(outcome, Prediction)]
        try:
            repeated = self._save(predictions)
        except InvalidInput:
            outcomes = [(record, self._saved_alone(outcome)) for record, outcome in outcomes]
            repeated = True
        if not repeated:
            return outcomes, {}
        ids = list({outcome.prediction_id for _, outcome in outcomes if isinstance(outcome, Prediction)})
        return outcomes, self._persistence.until_done("get", lambda: self._store.get_many(ids))

    def _save(self, predictions: list[Prediction]) -> bool:
        """Save until it succeeds; says whether any was there already."""
        if not predictions:
            return False
        return self._persistence.until_done("save", lambda: self._store.save(predictions)).repeated > 0

    def _saved_alone(self, outcome: Prediction | Refusal) -> Prediction | Refusal:
        try:
            self._save([outcome] if isinstance(outcome, Prediction) else [])
        except InvalidInput as error:
            return Refusal("wrong_fields", str(error))
        return outcome

    def _publish(self, outcomes: list[Outcome], logged: dict[str, Prediction]) -> None:
        entries = [
            Entry(record.partition_key, result_json(logged.get(outcome.prediction_id, outcome)))
            for record, outcome in outcomes
            if isinstance(outcome, Prediction)
        ]
        put_all(self._kinesis, self._persistence, self._streams.results, entries)
        self._metrics.results.inc(len(entries))

    def _set_aside(self, bundle: Bundle, outcomes: list[Outcome]) -> None:
        contract = bundle.contract
        origin = Origin(self._streams.input, contract.name, contract.hash, bundle.run_id)
        now = self._now()
        refused = [(record, outcome) for record, outcome in outcomes if isinstance(outcome, Refusal)]
        entries = [entry for record, refusal in refused for entry in letters(origin, record, refusal, now)]
        put_all(self._kinesis, self._persistence, self._streams.dead_letters, entries)
        for _, refusal in refused:
            self._metrics.dead_letters.labels(refusal.reason).inc()

    def _count(self, outcomes: list[Outcome], run_id: str) -> None:
        tally = Counter(o.reason if isinstance(o, Refusal) else "answered" for _, o in outcomes)
        for word, count in tally.items():
            self._answers.predictions.labels("stream", run_id, word).inc(count)
        answered = [(record, outcome) for record, outcome in outcomes if isinstance(outcome, Prediction)]
        observe_many(self._answers.probability.labels("stream", run_id), [one.churn_probability for _, one in answered])
        now = self._now()
        waits = [max(0.0, (now - record.arrived_at).total_seconds()) for record, _ in answered]
        observe_many(self._answers.seconds.labels("stream"), waits)


Outcome = tuple[StreamRecord, Prediction | Refusal]


class Carrier(Protocol):
    """What a worker hands its batches to."""

    def prepare(self, records: Sequence[StreamRecord]) -> Callable[[], None]:
        """Whatever of a batch has no effect. What is returned has them all, each until it succeeds, or raises Stopped
        or TooManyDeadLetters: then the batch must not be checkpointed."""


def put_all(kinesis: Kinesis, persistence: Persistence, stream: str, entries: list[Entry]) -> None:
    """Put until the stream has taken them all; only what it refused is tried again."""
    backoff = persistence.backoff()
    while entries:
        unsent = kinesis.put(stream, entries)
        if len(unsent.entries) < len(entries):
            backoff.reset()
        if unsent.entries:
            persistence.refused("put", unsent, backoff)
        entries = unsent.entries


def score_batch(scorer: Scorer, stream: str, records: Sequence[StreamRecord], longest_bytes: int) -> list[Outcome]:
    """Unpack and score: each user record with its outcome, in order. No effect, nothing raised for bad input."""
    unpacked: list[Outcome | StreamRecord] = [user for record in records for user in _user_records(record)]
    plain = [user for user in unpacked if isinstance(user, StreamRecord)]
    raw = [RawRecord(record.data, record.identity(stream)) for record in plain]
    scored = iter(zip(plain, score_raw(scorer, raw, "stream", longest_bytes), strict=True))
    return [next(scored) if isinstance(user, StreamRecord) else user for user in unpacked]


def result_json(prediction: Prediction) -> bytes:
    """The record on the results stream: what an HTTP caller gets, and the route."""
    return answer_json(prediction, prediction.route)


def _user_records(record: StreamRecord) -> list[Outcome | StreamRecord]:
    if not is_aggregated(record.data):
        return [record]
    try:
        users = unpack(record.data)
    except BadAggregate as error:
        return [(record, Refusal("bad_aggregate", f"looks packed by the Kinesis Producer Library, but {error}"))]
    return [
        record._replace(partition_key=user.partition_key, data=user.data, sub_sequence=number)
        for number, user in enumerate(users)
    ]
