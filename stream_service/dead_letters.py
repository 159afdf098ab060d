"""Records that can never succeed: kept with their bytes and the reason, listed and replayed, limited in share.

A dead letter is a JSON object on the dead-letter stream. Bytes too long for one are spread over several parts.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from churn.errors import TooManyDeadLetters
from churn.prediction import derived_id
from churn.raw_records import Refusal
from stream_service.records import Entry, StreamRecord

PART_BYTES = 500_000
"""Raw bytes in one part: in base64, and with the rest of the letter, well under the 1 MiB that a record may have."""


class Origin(NamedTuple):
    """What was in force when the record was refused."""

    stream: str
    contract: str
    contract_hash: str
    model_run_id: str


class DeadLetter(NamedTuple):
    """A letter as read back, its parts put together."""

    identity: str
    partition_key: str
    data: bytes
    document: dict[str, Any]


class _Part(NamedTuple):
    """One record of the dead-letter stream."""

    identity: str
    number: int
    of: int
    data: bytes
    document: dict[str, Any]


def letters(origin: Origin, record: StreamRecord, refusal: Refusal, now: datetime) -> list[Entry]:
    """What to put on the dead-letter stream for one record. A redelivery gives the same `dead_letter_id`."""
    identity = derived_id("dead", *record.identity(origin.stream))
    chunks = [record.data[at : at + PART_BYTES] for at in range(0, len(record.data), PART_BYTES)] or [b""]
    head = {
        "dead_letter_id": identity,
        "reason": refusal.reason,
        "detail": refusal.detail[:4000],
        **origin._asdict(),
        "shard_id": record.shard_id,
        "sequence_number": record.sequence_number,
        "sub_sequence": record.sub_sequence,
        "partition_key": record.partition_key,
        "arrived_at": record.arrived_at,
        "set_aside_at": now,
        "bytes": len(record.data),
        "sha256": hashlib.sha256(record.data).hexdigest(),
        "parts": len(chunks),
        "replay": f"python -m stream_service dead-letters replay --id {identity}",
    }
    return [
        Entry(record.partition_key, orjson.dumps(head | {"part": part, "data": base64.b64encode(chunk).decode()}))
        for part, chunk in enumerate(chunks)
    ]


def collect(records: Iterable[StreamRecord]) -> Iterator[DeadLetter]:
    """Letters in the order in which they were completed, each once, however often it was delivered.

    What is not a letter (somebody else's record) is passed over.
    """
    seen: set[str] = set()
    parts: dict[str, dict[int, bytes]] = {}
    for record in records:
        part = _parse(record.data)
        if part is None or part.identity in seen:
            continue
        held = parts.setdefault(part.identity, {})
        held[part.number] = part.data
        if len(held) == part.of:
            seen.add(part.identity)
            del parts[part.identity]
            data = b"".join(chunk for _, chunk in sorted(held.items()))
            yield DeadLetter(part.identity, str(part.document["partition_key"]), data, part.document)


class DeadLetterLimit:
    """Stops a worker when too large a share of the last `window` records had to be set aside.

    Then the contract or the model is wrong, and going on would bury good records. Shared by a worker's shards.
    """

    def __init__(self, share: float, window: int) -> None:
        self._allowed = share * window
        self._share = share
        self._recent: deque[bool] = deque(maxlen=window)
        self._bad = 0
        self._lock = threading.Lock()

    def admit(self, refused: Sequence[bool]) -> None:
        """Count a batch, in order. Raises TooManyDeadLetters; nothing of that batch must then be done."""
        with self._lock:
            for bad in refused:
                if len(self._recent) == self._recent.maxlen:
                    self._bad -= self._recent[0]
                self._recent.append(bad)
                self._bad += bad
                if self._bad > self._allowed:
                    self._stop()

    def _stop(self) -> None:
        raise TooManyDeadLetters(
            f"{self._bad} of the last {len(self._recent)} records cannot be scored, more than "
            f"DEAD_LETTER_SHARE={self._share:g} of {self._recent.maxlen}: the contract or the model does not fit what "
            "is sent. Nothing of this batch was set aside and no checkpoint moved; mend RUN_ID or the sender, "
            "or raise DEAD_LETTER_SHARE to let them pass"
        )


def _parse(data: bytes) -> _Part | None:
    try:
        document = orjson.loads(data)
        number, of = document["part"], document["parts"]
        if (
            type(number) is not int
            or type(of) is not int
            or not {"partition_key", "reason", "stream"} <= document.keys()
        ):
            return None
        return _Part(str(document["dead_letter_id"]), number, of, base64.b64decode(document.pop("data")), document)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
