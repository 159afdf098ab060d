"""Deletes what a contract's retention lets go: predictions with their labels, once an hour.

MongoDB expires predictions by itself, by the retention in force when they were logged; here both homes follow the
contract of the newest run, so that a shorter retention holds for what is logged already. Verdicts and alarms stay:
they hold counts, no customer's record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

import structlog
from prometheus_client import Counter

from churn.contract import Contract
from churn.store import PredictionStore

log = structlog.get_logger()

PURGE_SECONDS = 3600.0

ContractOf = Callable[[str], Contract | None]
"""The contract of that name as it is in force; None while no bundle can be had that says it."""


class Retention:
    """Not thread-safe. Two watches on one store do no harm."""

    def __init__(
        self, store: PredictionStore, contract_of: ContractOf, purged: Counter, now: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._contract_of = contract_of
        self._purged = purged
        self._now = now
        self._looked_at: dict[str, datetime] = {}

    def look(self, contracts: Iterable[str]) -> None:
        """Purge what is due. Raises StoreUnavailable; then it is due still."""
        now = self._now()
        for name in contracts:
            looked_at = self._looked_at.get(name)
            if looked_at is None or (now - looked_at).total_seconds() >= PURGE_SECONDS:
                self._purge(name, now)
                self._looked_at[name] = now

    def _purge(self, name: str, now: datetime) -> None:
        contract = self._contract_of(name)
        if contract is None:
            log.warning("retention_unknown", contract=name, hint="no bundle of its runs can be had; nothing is deleted")
            return
        purged = self._store.purge(name, now - timedelta(days=contract.retention_days))
        self._purged.labels(name).inc(purged)
        log.info("predictions_purged", contract=name, predictions=purged, retention_days=contract.retention_days)
