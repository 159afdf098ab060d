"""One path from an event to an answer, for every function behind API Gateway: read, score, make durable, answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serverless.answers import Keep
from serverless.api import Answer, Event, Problem, record_of, request_of, response
from serverless.lines import log
from serverless.record import LEAST_KEY_CHARACTERS, Pseudonym, identity_of, prediction, pseudonyms, told
from serverless.score import Artifact, InvalidRecord, Read, shown
from serverless.warm import Warm

ROUTE = "/predict"
Check = Callable[[Artifact, Mapping[str, Any]], None]
"""What a function asks of a record beside its fields. Raises Problem."""
Score = Callable[[Artifact, Mapping[str, Any], Read], float]
"""The churn probability of a record that fits; `record` is as received. Raises Problem when it gets none."""


def any_record(artifact: Artifact, record: Mapping[str, Any]) -> None:
    """Its fields are all that matters."""


def own_score(artifact: Artifact, record: Mapping[str, Any], read: Read) -> float:
    """The artifact's own."""
    return artifact.probability(read.row)


@dataclass(frozen=True)
class Door:
    """What a function holds while it is warm. `key` gives the secret behind pseudonyms, or raises OSError."""

    warm: Warm
    keep: Keep
    key: Callable[[], str]
    origins: Sequence[str] = ()
    score: Score = own_score
    check: Check = any_record

    def respond(self, event: Event) -> Answer:
        """Answer one event; never raises for what a sender did. No answer is given whose record is not durable."""
        started = time.perf_counter()
        origin, facts = "", dict[str, Any]()
        try:
            request = request_of(event)
            origin, facts["request_id"] = request.origin, request.request_id
            if request.method == "OPTIONS":
                return response(204, None, origin, self.origins)
            if not request.path.rstrip("/").endswith(ROUTE):
                raise Problem(404, f"{shown(request.path)}: expected {ROUTE}")
            if request.method != "POST":
                raise Problem(405, f"{shown(request.method)}: expected POST")
            record = record_of(request)
            artifact = self._artifact()
            facts["model_run_id"] = artifact.run_id
            kept = self._answer(artifact, record, started)
            facts["prediction_id"] = kept["prediction_id"]
            answer = response(200, told(kept), origin, self.origins)
        except Problem as problem:
            answer = response(problem.status, problem.document, origin, self.origins)
        log("answered", status=answer["statusCode"], seconds=round(time.perf_counter() - started, 6), **facts)
        return answer

    def _artifact(self) -> Artifact:
        artifact = self.warm.artifact()
        if artifact is None:
            raise Problem(503, "no model could be loaded; try again in a minute")
        return artifact

    def _answer(self, artifact: Artifact, record: Mapping[str, Any], started: float) -> dict[str, Any]:
        self.check(artifact, record)
        read, identity = _checked(artifact, record, self._pseudonym(artifact))
        answer = artifact.told(read, self.score(artifact, record, read))
        kept = prediction(artifact, read, answer, identity)
        kept["latency_seconds"] = round(time.perf_counter() - started, 6)
        try:
            self.keep(kept)
        except OSError as error:
            log("answer_not_kept", reason=str(error), model_run_id=artifact.run_id)
            raise Problem(503, "the prediction cannot be logged, so it is not given; try again") from error
        return kept

    def _pseudonym(self, artifact: Artifact) -> Pseudonym:
        if not artifact.pseudonymised:
            return str
        try:
            key = self.key()
        except OSError as error:
            log("no_pseudonym_key", reason=str(error), model_run_id=artifact.run_id)
            raise Problem(503, "the key of the pseudonyms cannot be read; try again") from error
        if len(key.strip()) < LEAST_KEY_CHARACTERS:
            log("no_pseudonym_key", reason=f"{len(key.strip())} characters are too few", model_run_id=artifact.run_id)
            raise Problem(503, "contract asks for pseudonyms of customers, and their key is missing or too short")
        return pseudonyms(artifact.contract["name"], key)


def _checked(artifact: Artifact, record: Mapping[str, Any], pseudonym: Pseudonym) -> tuple[Read, dict[str, Any]]:
    problems: list[tuple[str, Any, str]] = []
    try:
        identity = identity_of(artifact, record, pseudonym)
    except InvalidRecord as error:
        problems.extend(error.problems)
    try:
        read = artifact.read(record)
    except InvalidRecord as error:
        problems.extend(error.problems)
    if problems:
        errors = [{"field": name, "value": shown(value), "expected": words} for name, value, words in problems]
        raise Problem(422, str(InvalidRecord(problems)), errors)
    return read, identity
