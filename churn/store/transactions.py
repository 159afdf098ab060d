"""A customer's transaction as the store keeps it: one line of an invoice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Transaction:
    """`copy` counts lines alike in all else (1, 2, …): an invoice may hold the same line twice, and means it.

    `attributes` are further columns of its source that a contract measures, by their raw names.
    """

    customer_id: str
    time: datetime
    invoice: str
    item: str
    quantity: float
    price: float
    cancelled: bool = False
    copy: int = 1
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def transaction_id(self) -> str:
        """32 hex digits made of what the line says: loaded again, it is the same transaction."""
        said = [self.customer_id, self.time.isoformat(), self.invoice, self.item, self.quantity, self.price, self.copy]
        return hashlib.blake2b(json.dumps(said).encode(), digest_size=16).hexdigest()


def attributes_text(transaction: Transaction) -> str:
    """Its attributes as both homes keep them."""
    return json.dumps(dict(transaction.attributes), ensure_ascii=False) if transaction.attributes else "{}"
