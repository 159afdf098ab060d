"""What a request does, without HTTP: parsed body -> scored -> logged -> answered, for both ways in alike."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

from churn.errors import FieldProblem, InvalidInput, JournalFull
from churn.metrics import AnswerMetrics
from churn.prediction import Prediction, Route, answer_json, answers_json, to_json
from churn.scoring import Prepared
from churn.serving import Serving, ServingModel
from churn.uniform import UniformRecords
from web_service.problems import Problem, invalid_fields
from web_service.repeats import check_key, check_repeat, identity
from web_service.tally import AnswerTally

ROUTE: Route = "http"


class Journal(Protocol):
    """The durable queue in front of the store, as far as a request needs it."""

    def append(self, payloads: Sequence[bytes], *, keyed: bool = False) -> None:
        """Return once the payloads are durable. Raises JournalFull when they are not."""


class FirstAnswers(Protocol):
    """Finds what was answered to an identity before, and keeps others from answering it meanwhile."""

    def first_answers(self, prediction_ids: Sequence[str]) -> AbstractContextManager[Mapping[str, Prediction]]: ...


class Single(NamedTuple):
    """One record's request, checked and encoded, waiting to be answered in a group. `keyed`: it may be a repeat.
    `started` by time.perf_counter()."""

    serving: Serving
    prepared: Prepared
    started: float
    keyed: bool


class PredictionService:
    """Answers predictions and logs each before it is given. Safe to share between threads."""

    def __init__(
        self,
        model: ServingModel,
        journal: Journal,
        first_answers: FirstAnswers,
        metrics: AnswerMetrics,
        list_limit: int,
    ) -> None:
        self.model = model
        self.journal = journal
        self.tally = AnswerTally(metrics, ROUTE)
        self.list_limit = list_limit
        self.refusal: str | None = None
        """Why the journal refused the newest append, or None."""
        self._first_answers = first_answers

    def predict(self, body: Any, client: str = "", key: str | None = None) -> bytes:
        """The JSON answer to a parsed body: an object for an object, a list for a list.

        A list is answered as a whole or not at all, so that a caller never has to find out which items were logged.
        `client` and `key` are who sent an Idempotency-Key and which. Raises Problem, InvalidInput, JournalFull.
        """
        started = time.perf_counter()
        if type(body) is dict:
            return answer_json(self._answers([body], None, client, key, started)[0])
        if not _is_list(body):
            raise Problem("invalid-fields", "expected an object with the contract's fields, or a list of such objects")
        if len(body) > self.list_limit:
            detail = f"a list of {len(body)} items; at most {self.list_limit} are taken at once, send it in parts"
            raise Problem("too-large", detail)
        return answers_json(self._answers(body, len(body), client, key, started))

    def single(self, body: Any, key: str | None = None, client: str = "") -> Single | None:
        """A body that may be answered together with others: one record. None for any other; raises as `predict`."""
        if type(body) is not dict:
            return None
        started = time.perf_counter()
        serving = self.model.current
        prediction_id = None
        if key is not None or "event_id" in body:
            check_key(key)
            prediction_id = identity(body, serving.bundle.contract.name, client, key, 0)
        return Single(serving, serving.scorer.prepare(body, prediction_id), started, prediction_id is not None)

    def predict_group(self, group: Sequence[Single]) -> list[Prediction]:
        """Score and log requests that met as one: one call of the model, one append, one fsync. Raises JournalFull."""
        predictions = _scored(group)
        self._log(predictions)
        self._answered(predictions, [single.started for single in group])
        return predictions

    def predict_keyed_group(self, group: Sequence[Single]) -> list[Prediction | Problem]:
        """As `predict_group`, for requests that may be repeats: a first answer, a new one, or for a repeat that is
        none the Problem. May wait for other workers that answer the same keys."""
        fresh: dict[str, Single] = {}
        outcomes: list[Problem | None] = []
        with self._first_answers.first_answers([single.prepared.prediction_id for single in group]) as found:
            for single in group:
                one = single.prepared
                try:
                    earlier = None if one.prediction_id in found else fresh.setdefault(one.prediction_id, single)
                    _check_same(one, found, earlier and earlier.prepared, single.serving.bundle.contract.hash)
                    outcomes.append(None)
                except Problem as problem:
                    outcomes.append(problem)
            made = _scored(list(fresh.values())) if fresh else []
            self._log(made, keyed=True)
        self._answered(made, [single.started for single in fresh.values()])
        self.tally.refused(group[0].serving.bundle.run_id, "repeated", outcomes.count(None) - len(made))
        answers = {**found, **{prediction.prediction_id: prediction for prediction in made}}
        return [
            answers[single.prepared.prediction_id] if problem is None else problem
            for single, problem in zip(group, outcomes, strict=True)
        ]

    def count_refused(self, body: Any, error: Exception) -> None:
        """Count the records of a body that was refused; the one who tells the caller counts, so it is counted once."""
        outcome = "not_logged" if isinstance(error, JournalFull) else "invalid"
        self.tally.refused(self.model.current.bundle.run_id, outcome, len(body) if _is_list(body) else 1)

    def _answers(
        self, records: Sequence[Any], listed: int | None, client: str, key: str | None, started: float
    ) -> list[Prediction]:
        """Answers to records of one request, in order; an identity that was answered before gets its first answer."""
        check_key(key)
        serving = self.model.current
        contract = serving.bundle.contract
        if key is None and isinstance(records, UniformRecords) and "event_id" not in records.names:
            return self._new_answers(serving, records, listed is not None, started)
        ids = [
            identity(record, contract.name, client, key, index) if type(record) is dict else None
            for index, record in enumerate(records)
        ]
        known = [prediction_id for prediction_id in ids if prediction_id is not None]
        if not known:
            return self._new_answers(serving, records, listed is not None, started)
        with self._first_answers.first_answers(known) as found:
            if not found and len(set(known)) == len(records):
                return self._new_answers(serving, records, listed is not None, started, known)
            prepared = _prepared(serving, records, ids, listed is not None)
            fresh = _not_answered(prepared, found, contract.hash)
            made = serving.scorer.score_prepared(list(fresh.values()), ROUTE, started)
            self._log(made, keyed=True)
        self._answered(made, [started] * len(made))
        self.tally.refused(serving.bundle.run_id, "repeated", len(prepared) - len(made))
        answers = {**found, **{prediction.prediction_id: prediction for prediction in made}}
        return [answers[one.prediction_id] for one in prepared]

    def _new_answers(
        self,
        serving: Serving,
        records: Sequence[Any],
        listed: bool,
        started: float,
        prediction_ids: Sequence[str] | None = None,
    ) -> list[Prediction]:
        """Answers to records that repeat nothing; `prediction_ids` are those of records that may be repeated later."""
        wrong: list[tuple[int, InvalidInput]] = []
        if not isinstance(records, UniformRecords):
            wrong = [
                (place, _not_an_object(record)) for place, record in enumerate(records) if type(record) is not dict
            ]
        outcomes = [] if wrong else serving.scorer.score(records, ROUTE, prediction_ids)
        wrong += [(index, outcome) for index, outcome in enumerate(outcomes) if isinstance(outcome, InvalidInput)]
        if wrong:
            raise invalid_fields([(index if listed else None, error) for index, error in wrong])
        predictions = [outcome for outcome in outcomes if isinstance(outcome, Prediction)]
        self._log(predictions, keyed=prediction_ids is not None)
        self._answered(predictions, [started] * len(predictions))
        return predictions

    def _log(self, predictions: Sequence[Prediction], keyed: bool = False) -> None:
        try:
            self.journal.append([to_json(prediction) for prediction in predictions], keyed=keyed)
        except JournalFull as error:
            self.refusal = str(error)
            raise
        self.refusal = None

    def _answered(self, predictions: Sequence[Prediction], started: Sequence[float]) -> None:
        now = time.perf_counter()
        self.tally.answered(predictions, [now - began for began in started])


def _prepared(serving: Serving, records: Sequence[Any], ids: Sequence[str | None], listed: bool) -> list[Prepared]:
    """Every record checked and encoded. Raises Problem naming every wrong field of every wrong one."""
    prepared: list[Prepared] = []
    wrong: list[tuple[int | None, InvalidInput]] = []
    for index, (record, prediction_id) in enumerate(zip(records, ids, strict=True)):
        try:
            if type(record) is not dict:
                raise _not_an_object(record)
            prepared.append(serving.scorer.prepare(record, prediction_id))
        except InvalidInput as error:
            wrong.append((index if listed else None, error))
    if wrong:
        raise invalid_fields(wrong)
    return prepared


def _scored(group: Sequence[Single]) -> list[Prediction]:
    """All by one call of the model, but for the moment of a swap."""
    serving, started = group[0].serving, group[0].started
    if all(single.serving is serving for single in group):
        return serving.scorer.score_prepared([single.prepared for single in group], ROUTE, started)
    return [p for one in group for p in one.serving.scorer.score_prepared([one.prepared], ROUTE, one.started)]


def _not_answered(
    prepared: Sequence[Prepared], found: Mapping[str, Prediction], contract_hash: str
) -> dict[str, Prepared]:
    """The records to answer now, one an identity. Raises Problem for a repeat that is none: its fields differ."""
    fresh: dict[str, Prepared] = {}
    for one in prepared:
        earlier = None if one.prediction_id in found else fresh.setdefault(one.prediction_id, one)
        _check_same(one, found, earlier, contract_hash)
    return fresh


def _check_same(one: Prepared, found: Mapping[str, Prediction], earlier: Prepared | None, contract_hash: str) -> None:
    """Raises Problem when a record has the identity of another: one answered before, or an earlier one of now."""
    if earlier is not None:
        check_repeat(earlier.cleaned.features, earlier.identity.customer_id, one)
        return
    first = found[one.prediction_id]
    if first.contract_hash == contract_hash:  # cleaned by another contract, the same fields may look different
        check_repeat(first.features, first.customer_id, one)


def _is_list(body: Any) -> bool:
    return isinstance(body, list | UniformRecords)


def _not_an_object(record: Any) -> InvalidInput:
    return InvalidInput([FieldProblem("item", record, "an object with the contract's fields")])
