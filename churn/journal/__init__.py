"""The local durable queue in front of the store: answers wait for the disk here, never for the database.

`Journal` takes records and returns once they are on the disk, `Shipper` moves them to the store, `Idempotency` finds
the first answer to a key, `host_stats` counts. What is not in the store is in a segment, or rejected and counted.
"""

from churn.journal.folder import JournalStats, host_stats
from churn.journal.idempotency import Idempotency
from churn.journal.shipper import Shipper
from churn.journal.writer import Journal

__all__ = ["Idempotency", "Journal", "JournalStats", "Shipper", "host_stats"]
