"""What the labels say, as they come: the realised performance of each judged window, restated while labels arrive,
and whether the errors of a run have changed (concept drift)."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from churn.concept_drift import ConceptShift, find_concept_shifts
from churn.contract import Decision
from churn.errors import ContractError, WatchError
from churn.performance import Performance, realised
from churn.prediction import Label, Prediction
from churn.store import PredictionStore
from churn.store.interface import Labelled
from monitoring.judged import Judged
from monitoring.watch import RunState
from monitoring.windows import Position

PERFORMANCE_KIND = "performance"
CONCEPT_KIND = "concept"
WINDOWS_A_POLL = 5
"""Judged windows whose labels are looked at again in one poll, in turn."""
ROWS_A_POLL = 100_000
"""Rows that a poll may go through for labels on average, less than a tenth of a second: large windows wait longer."""
WINDOWS_LOOKED_AFTER = 60
"""Newest windows of a run whose labels are still awaited."""
LABELS_REPLAYED = 20_000
"""Newest labels of a run that concept drift is looked for in, about a second of work when new ones came."""
ROWS_REPLAYED = 2_000_000
"""Rows of newest windows in which those labels are looked for."""
LABEL_BATCH = 1_000

Run = tuple[str, str]
DecisionOf = Callable[[str, str], Decision | None]


@dataclass(frozen=True, slots=True)
class RunTruth:
    """What a run's labels say: the newest window with figures, and the newest change of its errors if they rose."""

    newest: Judged
    performance: Performance
    concept: ConceptShift | None


class Truth:
    """Looks after labels, a few windows a poll. Not thread-safe; all it finds is in the store."""

    def __init__(self, store: PredictionStore, decision_of: DecisionOf) -> None:
        self._store = store
        self._decision_of = decision_of
        self._turns: dict[Run, int] = {}
        self._rows_ahead = 0
        self._known: dict[str, Performance] = {}
        self._concepts: dict[Run, ConceptShift | None] = {}

    def look(self, runs: Iterable[RunState]) -> None:
        """Restate a few windows of each run; look for concept drift where labels changed. Raises StoreUnavailable."""
        self._rows_ahead = max(0, self._rows_ahead - ROWS_A_POLL)
        for run in sorted(runs, key=lambda run: self._turns.get((run.contract, run.model_run_id), 0)):
            windows = run.recent[-WINDOWS_LOOKED_AFTER:]
            if self._rows_ahead > ROWS_A_POLL:
                return  # the longest waiting run is first next time
            if not windows:
                continue
            key = (run.contract, run.model_run_id)
            turn = self._turns.get(key, 0)
            some = [windows[(turn + step) % len(windows)] for step in range(min(WINDOWS_A_POLL, len(windows)))]
            while len(some) > 1 and sum(judged.verdict.rows for judged in some) > ROWS_A_POLL:
                some.pop()
            self._turns[key] = turn + len(some)
            changed = [self._restate(judged) for judged in some]
            if any(changed) or key not in self._concepts:
                self._concepts[key] = self._concept(windows)
                self._keep_concept(key)

    def remember(self, runs: Iterable[RunState]) -> None:
        """Learn what an earlier look left in the store, without reading labels. Raises StoreUnavailable."""
        for run in runs:
            key = (run.contract, run.model_run_id)
            for judged in reversed(run.recent[-WINDOWS_LOOKED_AFTER:]):
                kept = self._store.document(PERFORMANCE_KIND, judged.window.key)
                if kept is not None:
                    self._known[judged.window.key] = Performance.from_json(kept)
                    break
            kept = self._store.document(CONCEPT_KIND, "/".join(key))
            self._concepts[key] = ConceptShift(**kept["shift"]) if kept and kept["shift"] else None

    def of(self, run: RunState) -> RunTruth | None:
        """The newest window of a run whose labels give figures; None while there is none."""
        for judged in reversed(run.recent):
            performance = self._known.get(judged.window.key)
            if performance is not None and performance.figures:
                return RunTruth(judged, performance, self._concepts.get((run.contract, run.model_run_id)))
        return None

    def _restate(self, judged: Judged) -> bool:
        """Whether the window's figures are others than before."""
        key = judged.window.key
        self._rows_ahead += judged.verdict.rows
        performance = realised_of(self._store, judged, self._decision_of)
        if performance.rows == 0 or self._known.get(key) == performance:
            return False
        self._known[key] = performance
        self._store.put_document(PERFORMANCE_KIND, key, {"key": key} | performance.to_json(), replace=True)
        return True

    def _keep_concept(self, run: Run) -> None:
        key, shift = "/".join(run), self._concepts[run]
        document = {"key": key, "shift": asdict(shift) if shift else None}
        self._store.put_document(CONCEPT_KIND, key, document, replace=True)

    def _concept(self, windows: list[Judged]) -> ConceptShift | None:
        errors: list[bool] = []
        rows = 0
        for judged in reversed(windows):
            if len(errors) >= LABELS_REPLAYED or rows >= ROWS_REPLAYED:
                break
            rows += judged.verdict.rows
            errors[:0] = [prediction.churn != label.churned for prediction, label in labelled(self._store, judged)]
        self._rows_ahead += rows
        shifts = find_concept_shifts(errors[-LABELS_REPLAYED:])
        return shifts[-1] if shifts and shifts[-1].worse else None


def realised_of(store: PredictionStore, judged: Judged, decision_of: DecisionOf) -> Performance:
    """The realised performance of a judged window, as its labels are now."""
    rows = [(p.churn_probability, p.churn, label.churned) for p, label in labelled(store, judged)]
    scores, flagged, churned = (np.array([row[place] for row in rows]) for place in range(3))
    flags = flagged.astype(bool), churned.astype(bool)
    decision = decision_of(judged.window.contract, judged.window.model_run_id) if rows else None
    return realised(scores.astype(np.float64), *flags, judged.verdict.rows, decision)


def labelled(store: PredictionStore, judged: Judged) -> Iterator[tuple[Prediction, Label]]:
    """The labelled predictions of a judged window, and of no other."""
    window, last = judged.window, judged.last
    for prediction, label in store.labelled(window.contract, window.model_run_id, window.start, window.end):
        place = Position(prediction.created_at, prediction.prediction_id)
        if (window.after is None or place > window.after) and (last is None or place <= last):
            yield prediction, label


PseudonymOf = Callable[[str], Callable[[str], str]]
"""A contract's name -> how it names customers in the log. Raises ContractError for a name that is none."""


def read_labels(path: Path, store: PredictionStore, now: datetime, pseudonym_of: PseudonymOf) -> Labelled:
    """Bring a CSV of ground truth into the store: `churned`, and `prediction_id` or `customer_id` and `contract`;
    `observed_at` (ISO, UTC) is now where absent. Customers are kept as `pseudonym_of` their contract names them.
    Raises WatchError with the line that is wrong, before which all are kept: the file may be read again."""
    total = Labelled(0, 0, 0)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            labels = _labels(csv.DictReader(file), path, now, pseudonym_of)
            while batch := list(islice(labels, LABEL_BATCH)):
                found = store.label(batch)
                total = Labelled(*(getattr(total, name) + getattr(found, name) for name in Labelled.__slots__))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise WatchError(f"{path}: cannot be read: {error}") from error
    return total


def _labels(rows: csv.DictReader[Any], path: Path, now: datetime, pseudonym_of: PseudonymOf) -> Iterator[Label]:
    columns = set(rows.fieldnames or ())
    if "churned" not in columns or not ("prediction_id" in columns or {"customer_id", "contract"} <= columns):
        found = ", ".join(sorted(columns)) or "none"
        raise WatchError(
            f"{path}: columns {found}: expected churned, and prediction_id or customer_id with contract; "
            "observed_at may stand beside them"
        )
    for number, row in enumerate(rows, start=2):
        try:
            yield _label(row, now, pseudonym_of)
        except (ValueError, ContractError) as error:
            raise WatchError(f"{path}, line {number}: {error}") from error


def _label(row: dict[str, str], now: datetime, pseudonym_of: PseudonymOf) -> Label:
    text = (row["churned"] or "").strip().lower()
    if text not in ("1", "0", "true", "false", "yes", "no"):
        raise ValueError(f"churned='{text}': expected true or false")
    observed = datetime.fromisoformat(row["observed_at"]) if row.get("observed_at") else now
    prediction_id, customer_id = row.get("prediction_id") or None, row.get("customer_id") or None
    contract = row.get("contract") or None
    if prediction_id is None:
        if customer_id is None or contract is None:
            raise ValueError("expected a prediction_id, or a customer_id and its contract")
        customer_id = pseudonym_of(contract)(customer_id)
    return Label(
        churned=text in ("1", "true", "yes"),
        observed_at=(observed if observed.tzinfo else observed.replace(tzinfo=UTC)).astimezone(UTC),
        prediction_id=prediction_id,
        customer_id=None if prediction_id else customer_id,
        contract=contract,
    )
