"""The store as an ingest fills it, and the names that it knows customers by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from churn.contract import Contract
from churn.pseudonym import key_source, pseudonyms
from churn.settings import PseudonymSettings, StoreSettings, read
from churn.store import PredictionStore, open_store


@contextmanager
def online(contract: Contract) -> Iterator[tuple[PredictionStore, Callable[[str], str]]]:
    """The store in force, checked and closed after use, and the contract's pseudonyms. Raises StoreUnavailable."""
    settings = read(StoreSettings)
    pseudonym = pseudonyms(contract, key_source(read(PseudonymSettings)))
    with closing(open_store(settings.store_url, timeout_seconds=settings.store_timeout_seconds)) as store:
        store.check()
        yield store, pseudonym
