"""Fields -> encoded -> scored -> a Prediction: the one way to an answer, for every door."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import compress
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from churn.bundle import Bundle
from churn.columns import CleanedColumns, ColumnEncoder
from churn.encoder import Cleaned, Encoder
from churn.errors import FieldProblem, InvalidInput
from churn.identity import Identity, read_identities, read_identity
from churn.positional import Positional
from churn.prediction import Prediction, Route, Value
from churn.pseudonym import KeySource, pseudonyms

COLUMNWISE_FROM = 64
"""From so many records on, columns are quicker than records (measured: even at 50, twice as fast at 1,000)."""
CHUNK = 2_000
"""Records of a long list that are encoded, and handed to the model, at a time."""
Probabilities = NDArray[np.float64]


class Prepared(NamedTuple):
    """A record that fits, encoded and with its identity: all but the answer."""

    cleaned: Cleaned
    identity: Identity
    prediction_id: str


Row = tuple[str, Identity, dict[str, Value], tuple[str, ...], tuple[str, ...], int]
"""prediction_id, identity, features, missing, unknown, ignored: what a Prediction holds of its record."""


class _Chunk(NamedTuple):
    """A part of a long list: what became of each record, where the right ones stand, and what they are made from."""

    outcomes: list[Any]
    right: Sequence[int]
    rows: Iterable[Row]
    probabilities: Callable[[], Probabilities]


class Scorer:
    """Scores records with one bundle. Immutable and safe to share between threads; a swap makes a new one.

    `key` is read at once if the contract asks for pseudonyms (PseudonymKeyError); without it, scoring a record that
    names its customer raises that. A prediction then holds the pseudonym alone: callers find their answers by place
    or by event_id.
    """

    def __init__(
        self,
        bundle: Bundle,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        key: KeySource | None = None,
    ) -> None:
        self.bundle = bundle
        self.encoder: Encoder = bundle.encoder
        self._now = now
        self._id_column = bundle.contract.id_column
        self.pseudonym = pseudonyms(bundle.contract, key)
        self._by_columns = ColumnEncoder(bundle.encoder)
        order = bundle.contract.positional
        self._positional = Positional(order, bundle.contract.features) if order else None
        self._labels = (bundle.contract.label(False), bundle.contract.label(True))

    def score(
        self, records: Sequence[Mapping[str, Any]], route: Route, prediction_ids: Sequence[str | None] | None = None
    ) -> list[Prediction | InvalidInput]:
        """Answer each record, in order: a Prediction, or the InvalidInput that says what is wrong with it.

        All valid ones are scored in one call of the model. `prediction_ids` fixes identities (None: a new one).
        `latency_seconds` is the time of the whole batch, since no record is answered before it.
        """
        started = time.perf_counter()
        if self._positional is None:
            return self._score_named(records, route, prediction_ids, started)
        named = [self._named(fields) for fields in records]
        right = [(i, fields) for i, fields in enumerate(named) if not isinstance(fields, InvalidInput)]
        ids = [prediction_ids[i] for i, _ in right] if prediction_ids else None
        outcomes = iter(self._score_named([fields for _, fields in right], route, ids, started))
        return [fields if isinstance(fields, InvalidInput) else next(outcomes) for fields in named]

    def _score_named(
        self,
        records: Sequence[Mapping[str, Any]],
        route: Route,
        prediction_ids: Sequence[str | None] | None,
        started: float,
    ) -> list[Prediction | InvalidInput]:
        if len(records) >= COLUMNWISE_FROM:
            return self._score_columnwise(records, route, prediction_ids, started)
        outcomes: list[Any] = []
        valid: list[Prepared] = []
        for index, fields in enumerate(records):
            try:
                outcomes.append(self.prepare(fields, prediction_ids[index] if prediction_ids else None))
                valid.append(outcomes[-1])
            except InvalidInput as error:
                outcomes.append(error)
        predictions = iter(self.score_prepared(valid, route, started))
        return [outcome if isinstance(outcome, InvalidInput) else next(predictions) for outcome in outcomes]

    def prepare(self, fields: Mapping[str, Any], prediction_id: str | None = None) -> Prepared:
        """Check and encode one record, so that it can be scored with others. Raises InvalidInput, all wrong fields."""
        if self._positional is not None:
            fields = self._positional.named(fields)
        try:
            identity = self.identity(fields)
        except InvalidInput as error:
            raise InvalidInput([*error.problems, *self._problems(fields)]) from None
        return Prepared(self.encoder.clean(fields), identity, prediction_id or new_id())

    def score_prepared(self, prepared: Sequence[Prepared], route: Route, started: float) -> list[Prediction]:
        """Answer records prepared by this scorer in one call of the model; `started` by time.perf_counter()."""
        if not prepared:
            return []
        rows = [(one.prediction_id, one.identity, *one.cleaned[:4]) for one in prepared]
        probabilities = self.bundle.probabilities(self.encoder.matrix([one.cleaned for one in prepared]))
        return self._predictions(rows, probabilities, route, self._now(), time.perf_counter() - started)

    def _score_columnwise(
        self,
        records: Sequence[Mapping[str, Any]],
        route: Route,
        prediction_ids: Sequence[str | None] | None,
        started: float,
    ) -> list[Prediction | InvalidInput]:
        """As `score`, by columns, and chunk by chunk: while the model answers one, the others are worked on."""
        chunks: list[_Chunk] = []
        for start in range(0, len(records), CHUNK):
            stop = start + CHUNK
            some, ids = records[start:stop], prediction_ids[start:stop] if prediction_ids else None
            columns = self._by_columns.columns(some)
            probabilities = _ahead(self.bundle, columns.matrix, is_only=len(records) <= CHUNK)
            chunks.append(self._chunk(some, columns, ids, probabilities))
        answered = [chunk.probabilities() for chunk in chunks]
        created_at, latency_seconds = self._now(), time.perf_counter() - started
        for chunk, probability in zip(chunks, answered, strict=True):
            predictions = self._predictions(chunk.rows, probability, route, created_at, latency_seconds)
            for place, prediction in zip(chunk.right, predictions, strict=True):
                chunk.outcomes[place] = prediction
        return [outcome for chunk in chunks for outcome in chunk.outcomes]

    def _chunk(
        self,
        records: Sequence[Mapping[str, Any]],
        columns: CleanedColumns,
        prediction_ids: Sequence[str | None] | None,
        probabilities: Callable[[], Probabilities],
    ) -> _Chunk:
        """A record without a proper identity goes by `prepare`, which says all its faults."""
        outcomes: list[Any] = [columns.wrong.get(place) for place in range(len(records))]
        right: Sequence[int] = range(len(records))
        if columns.wrong:
            right = [place for place in right if outcomes[place] is None]
        cleaned: Iterable[Sequence[Any]] = columns[:4]
        identities = read_identities(records, self._id_column, self.pseudonym)
        if None in identities:
            proper = [identities[place] is not None for place in right]
            for place, identity in enumerate(identities):
                if identity is None:
                    outcomes[place] = self._refusal(records[place])
            right, cleaned = list(compress(right, proper)), [list(compress(column, proper)) for column in cleaned]
            probabilities = functools.partial(_some, probabilities, proper)
        given = _chosen(prediction_ids, right) if prediction_ids else [None] * len(right)
        ids = [prediction_id or new_id() for prediction_id in given]
        return _Chunk(outcomes, right, zip(ids, _chosen(identities, right), *cleaned, strict=True), probabilities)

    def _named(self, fields: Mapping[str, Any]) -> Mapping[str, Any] | InvalidInput:
        if self._positional is None:
            return fields
        try:
            return self._positional.named(fields)
        except InvalidInput as error:
            return error

    def _refusal(self, fields: Mapping[str, Any]) -> InvalidInput:
        try:
            self.prepare(fields)
        except InvalidInput as error:
            return error
        raise AssertionError("a record without a proper identity was prepared")

    def _predictions(
        self,
        rows: Iterable[Row],
        probabilities: Probabilities,
        route: Route,
        created_at: datetime,
        latency_seconds: float,
    ) -> list[Prediction]:
        contract, threshold = self.bundle.contract, self.bundle.threshold
        labels = self._labels
        name, contract_hash, run_id = contract.name, contract.hash, self.bundle.run_id
        return [
            Prediction(
                prediction_id=prediction_id,
                created_at=created_at,
                contract=name,
                contract_hash=contract_hash,
                model_run_id=run_id,
                route=route,
                features=features,
                missing=missing,
                unknown=unknown,
                ignored=ignored,
                churn_probability=probability,
                churn=probability >= threshold,
                churn_label=labels[probability >= threshold],
                threshold=threshold,
                latency_seconds=latency_seconds,
                customer_id=customer_id,
                event_id=event_id,
                event_time=event_time,
            )
            for (
                prediction_id,
                (customer_id, event_id, event_time),
                features,
                missing,
                unknown,
                ignored,
            ), probability in zip(rows, probabilities.tolist(), strict=True)
        ]

    def score_one(self, fields: Mapping[str, Any], route: Route, prediction_id: str | None = None) -> Prediction:
        """Answer one record. Raises InvalidInput with every wrong field."""
        outcome = self.score([fields], route, [prediction_id])[0]
        if isinstance(outcome, InvalidInput):
            raise outcome
        return outcome

    def identity(self, fields: Mapping[str, Any]) -> Identity:
        """Customer (or the pseudonym), event and its time as a Prediction holds them. Raises InvalidInput."""
        return read_identity(fields, self._id_column, self.pseudonym)

    def _problems(self, fields: Mapping[str, Any]) -> tuple[FieldProblem, ...]:
        try:
            self.encoder.clean(fields)
        except InvalidInput as error:
            return error.problems
        return ()


def _chosen(values: Sequence[Any], places: Sequence[int]) -> Sequence[Any]:
    """Those at the places, which is mostly all of them."""
    return values if len(places) == len(values) else [values[place] for place in places]


def _some(probabilities: Callable[[], Probabilities], chosen: Sequence[bool]) -> Probabilities:
    return probabilities()[np.array(chosen, dtype=np.bool_)]


def _ahead(bundle: Bundle, matrix: NDArray[np.float32], is_only: bool) -> Callable[[], Probabilities]:
    """The model's answers, on another thread if there is more to do meanwhile: XGBoost's library lets go of the
    interpreter."""
    if is_only:
        return functools.partial(bundle.probabilities, matrix)
    return _model_threads().submit(bundle.probabilities, matrix).result


@functools.cache
def _model_threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(2, "model")


def new_id() -> str:
    """A new prediction_id: 32 hex digits, the first 12 the time in milliseconds, so that stores append, not scatter."""
    try:
        digits = _random_digits.pop()
    except IndexError:
        drawn = os.urandom(10 * DRAWN_AT_ONCE).hex()
        _random_digits.extend([drawn[start : start + 20] for start in range(20, len(drawn), 20)])
        digits = drawn[:20]
    return f"{time.time_ns() // 1_000_000:012x}{digits}"


_random_digits: list[str] = []
"""Drawn but not used yet; each is taken once, whichever thread asks. A call of the system for each would cost 1 us."""
DRAWN_AT_ONCE = 256
os.register_at_fork(after_in_child=_random_digits.clear)  # else parent and child would use the same ones
