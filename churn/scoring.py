"""Fields -> encoded -> scored -> a Prediction: the one way to an answer, for every door."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from churn.bundle import Bundle
from churn.encoder import Cleaned, Encoder
from churn.errors import FieldProblem, InvalidInput
from churn.prediction import Prediction, Route

IDENTITY_LIMIT = 200
"""Longest customer_id or event_id, in characters."""


class Scorer:
    """Scores records with one bundle. Immutable and safe to share between threads; a swap makes a new one."""

    def __init__(self, bundle: Bundle, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.bundle = bundle
        self.encoder: Encoder = bundle.encoder
        self._now = now
        self._id_column = bundle.contract.id_column

    def score(
        self, records: Sequence[Mapping[str, Any]], route: Route, prediction_ids: Sequence[str | None] | None = None
    ) -> list[Prediction | InvalidInput]:
        """Answer each record, in order: a Prediction, or the InvalidInput that says what is wrong with it.

        All valid ones are scored in one call of the model. `prediction_ids` fixes identities (None: a new one).
        `latency_seconds` is the time of the whole batch, since no record is answered before it.
        """
        started = time.perf_counter()
        outcomes: list[Any] = []
        valid: list[tuple[int, Cleaned, dict[str, Any]]] = []
        for index, fields in enumerate(records):
            try:
                identity = self.identity(fields)
                valid.append((index, self.encoder.clean(fields), identity))
                outcomes.append(None)
            except InvalidInput as error:
                outcomes.append(error)
        if valid:
            probabilities = self.bundle.probabilities(self.encoder.matrix([cleaned for _, cleaned, _ in valid]))
            created_at = self._now()
            latency_seconds = time.perf_counter() - started
            for (index, cleaned, identity), probability in zip(valid, probabilities.tolist(), strict=True):
                prediction_id = prediction_ids[index] if prediction_ids else None
                outcomes[index] = self._prediction(
                    cleaned, identity, probability, prediction_id or uuid4().hex, route, created_at, latency_seconds
                )
        return outcomes

    def score_one(self, fields: Mapping[str, Any], route: Route, prediction_id: str | None = None) -> Prediction:
        """Answer one record. Raises InvalidInput with every wrong field."""
        outcome = self.score([fields], route, [prediction_id])[0]
        if isinstance(outcome, InvalidInput):
            raise outcome
        return outcome

    def identity(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """customer_id, event_id and event_time as a Prediction holds them. Raises InvalidInput."""
        customer = fields.get("customer_id")
        if customer is None:
            customer = fields.get(self._id_column)
        event_id, event_time = fields.get("event_id"), fields.get("event_time")
        if customer is None and event_id is None and event_time is None:
            return {}
        return {
            "customer_id": _text("customer_id", customer),
            "event_id": _text("event_id", event_id),
            "event_time": _time("event_time", event_time),
        }

    def _prediction(
        self,
        cleaned: Cleaned,
        identity: dict[str, Any],
        probability: float,
        prediction_id: str,
        route: Route,
        created_at: datetime,
        latency_seconds: float,
    ) -> Prediction:
        contract, threshold = self.bundle.contract, self.bundle.threshold
        return Prediction(
            prediction_id=prediction_id,
            created_at=created_at,
            contract=contract.name,
            contract_hash=contract.hash,
            model_run_id=self.bundle.run_id,
            route=route,
            features=cleaned.features,
            missing=cleaned.missing,
            unknown=cleaned.unknown,
            ignored=cleaned.ignored,
            churn_probability=probability,
            churn=probability >= threshold,
            threshold=threshold,
            latency_seconds=latency_seconds,
            **identity,
        )


def _text(name: str, value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**18:
        return str(value)
    if isinstance(value, str) and 0 < len(value) <= IDENTITY_LIMIT:
        return value
    raise InvalidInput([FieldProblem(name, value, f"text of 1 to {IDENTITY_LIMIT} characters or a whole number")])


def _time(name: str, value: Any) -> datetime | None:
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        expected = "a time such as 2026-01-31T12:00:00Z"
        raise InvalidInput([FieldProblem(name, value, expected)]) from None
