"""What a home for predictions must do. Two exist, SQLite and MongoDB; one test suite runs on both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from churn.prediction import Label, Prediction, Route, Value
from churn.store.transactions import Transaction


@dataclass(frozen=True, slots=True)
class Saved:
    """What became of a batch: `stored` anew, or `repeated` (the id was there already, which is success)."""

    stored: int
    repeated: int


@dataclass(frozen=True, slots=True)
class Labelled:
    """What became of a batch of labels: predictions labelled, labels repeated or changed, labels that fit nothing."""

    matched: int
    changed: int
    unknown: int


@dataclass(frozen=True, slots=True)
class Customer:
    """The newest features of one customer, for callers who ask by id."""

    customer_id: str
    features: dict[str, Value]
    as_of: datetime


@dataclass(frozen=True, slots=True)
class Lease:
    """The right of one worker to one shard until `expires_at`. `token` grows with each owner: the fence."""

    consumer: str
    shard_id: str
    owner: str
    token: int
    expires_at: datetime
    sequence_number: str | None
    finished: bool = False


@dataclass(frozen=True, slots=True)
class ShardState:
    """A shard as `status` shows it: who owns it until when, how far it is, and whether it was read to its end."""

    shard_id: str
    owner: str | None
    token: int
    expires_at: datetime | None
    sequence_number: str | None
    checkpointed_at: datetime | None
    finished: bool


class PredictionStore(Protocol):
    """Where predictions live. Safe to share between threads; open one per process, after any fork.

    Every method raises StoreUnavailable, with what is wrong and what to do, when the home cannot be reached or
    refuses. Times are aware datetimes in UTC; windows are half open: start <= created_at < end.
    """

    def check(self) -> None:
        """Prove that the home can be reached, read and written, and make tables and indexes where absent."""

    def save(self, predictions: Sequence[Prediction]) -> Saved:
        """Log durably, exactly once by prediction_id. The first record of an id stays; a repeat changes nothing."""

    def get(self, prediction_id: str) -> Prediction | None:
        """The prediction of this id, or None."""

    def get_many(self, prediction_ids: Sequence[str]) -> dict[str, Prediction]:
        """Those of the ids that are stored, by id, in as few round trips as can be."""

    def window(
        self,
        contract: str,
        model_run_id: str | None,
        start: datetime,
        end: datetime,
        limit: int | None = None,
        sample: int | None = None,
    ) -> Iterator[Prediction]:
        """Predictions in order of (created_at, prediction_id); `limit` keeps the first so many, `sample` keeps a
        uniform random so many (reproducible for the same rows), both bounded in memory by what they keep."""

    def count(
        self,
        contract: str | None = None,
        model_run_id: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        route: Route | None = None,
    ) -> int:
        """How many predictions fit all that is given; `start` is included, `end` is not."""

    def runs(self, start: datetime | None = None, end: datetime | None = None) -> list[tuple[str, str]]:
        """The (contract, model_run_id) pairs that have predictions in the window, sorted."""

    def purge(self, contract: str, before: datetime) -> int:
        """Delete the predictions of a contract older than its retention, with their labels; says how many.
        Labels by id that met no prediction, which name no contract, go with the first purge past their own time."""

    def label(self, labels: Sequence[Label]) -> Labelled:
        """Join ground truth to predictions. Idempotent; a later `observed_at` replaces an earlier one.
        A label that fits nothing is kept and holds once its prediction comes out of a journal.

        By prediction id, or by customer id and contract: then every prediction of that customer created at or
        before `observed_at` is labelled."""

    def labelled(
        self, contract: str, model_run_id: str | None, start: datetime, end: datetime
    ) -> Iterator[tuple[Prediction, Label]]:
        """Predictions of the window whose truth is known, each with its newest label, in order of created_at."""

    def put_customers(self, contract: str, customers: Iterable[Customer]) -> int:
        """Upsert in batches; an older `as_of` never replaces a newer one. Says how many were written."""

    def customer(self, contract: str, customer_id: str) -> Customer | None:
        """The newest features of a customer, or None."""

    # Transactions, where a contract's customers come out of them.
    def put_transactions(self, contract: str, transactions: Iterable[Transaction]) -> Saved:
        """Keep in batches, each durably, exactly once by transaction_id: a load that was cut short is run again."""

    def transactions(
        self,
        contract: str,
        customer_id: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> Iterator[Transaction]:
        """A customer's, or everybody's, with start <= time < end, in order of time; bounded in memory."""

    def count_transactions(self, contract: str) -> int: ...

    # Shards: leases and checkpoints, one record a consumer and shard.
    def acquire_shard(
        self, consumer: str, shard_id: str, owner: str, now: datetime, ttl_seconds: float
    ) -> Lease | None:
        """Take a shard that is free, expired or already ours; None when another holds it. Raises the token."""

    def renew_shard(self, lease: Lease, now: datetime, ttl_seconds: float) -> Lease:
        """Prolong a lease; raises LeaseLost when its token is no longer the newest."""

    def checkpoint_shard(
        self, lease: Lease, sequence_number: str | None, now: datetime, finished: bool = False
    ) -> Lease:
        """Move the checkpoint on; raises LeaseLost when the token is old. Never moves back."""

    def release_shard(self, lease: Lease) -> None:
        """Give a shard up; does nothing when it is no longer ours."""

    def shards(self, consumer: str) -> list[ShardState]:
        """Every shard of a consumer that was ever held: its owner, lease and checkpoint."""

    # What was judged and reported: one document a (kind, key), written once.
    def put_document(self, kind: str, key: str, document: Mapping[str, Any], replace: bool = False) -> bool:
        """Keep a JSON-like document; False when the key exists and `replace` is not set."""

    def document(self, kind: str, key: str) -> dict[str, Any] | None:
        """The document of a key, or None."""

    def documents(
        self, kind: str, prefix: str = "", newest_first: bool = True, limit: int = 1000
    ) -> list[dict[str, Any]]:
        """Documents whose key starts with `prefix`, ordered by key."""

    def close(self) -> None:
        """Give back connections; nothing may be asked afterwards."""
