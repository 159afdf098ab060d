"""What really happened, as JSON lines beside the traffic: one header a run, then one line an event.

    {"type": "header", "contract": …, "seed": …, "shifts": [{"spec", "kind", "columns", "start", "end", "unit"}], …}
    {"type": "event", "index": …, "event_id": …, "customer_id": …, "route": …, "sent_at": …, "prediction_id": …,
     "shifts": [specs that were on], "churned": …, "label_due_at": …}

A scorecard holds the alarms against it; labels are delivered from it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from churn.errors import DataError
from simulation.shifts import Shift
from simulation.traffic import Receipt


class ShiftTruth(msgspec.Struct, frozen=True, kw_only=True):
    """One shift: on for start <= position < end, in `unit` (rows or seconds); without an end it stays on."""

    spec: str
    kind: str
    columns: tuple[str, ...]
    start: float
    end: float | None
    unit: str


class Header(msgspec.Struct, frozen=True, kw_only=True, tag="header"):
    """What one run was meant to be. Rows and seconds of shifts count from this run's own first event."""

    contract: str
    started_at: datetime
    seed: int
    rate: float
    rows: int
    source: str
    shifts: tuple[ShiftTruth, ...]


class EventTruth(msgspec.Struct, frozen=True, kw_only=True, tag="event"):
    """One event sent: the shifts that were on for it, the truth about the customer, and when it is known."""

    index: int
    event_id: str
    customer_id: str
    route: str
    sent_at: datetime
    prediction_id: str | None
    shifts: tuple[str, ...]
    churned: bool
    label_due_at: datetime


class Truth(msgspec.Struct, frozen=True):
    """A whole file. Several runs may stand in one file, each after its header."""

    headers: tuple[Header, ...]
    events: tuple[EventTruth, ...]


class TruthFile:
    """Appends to a truth file, each line at once, so that a killed run keeps what it sent.

    A line that a crash cut short is removed first. Use as a context manager. Raises DataError when it cannot write.
    """

    def __init__(self, path: Path, label_delay_seconds: float = 0.0) -> None:
        self.path = path
        self._label_delay_seconds = label_delay_seconds
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _cut_torn_line(path)
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise self._unwritable(error) from error

    def __enter__(self) -> TruthFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def begin(self, header: Header) -> None:
        self._write(header)

    def take(self, receipt: Receipt) -> None:
        """Write what became of an event. Not to be called by two threads at once; senders do not."""
        event, customer = receipt.event, receipt.event.customer
        delay = timedelta(seconds=self._label_delay_seconds + customer.label_delay_seconds)
        self._write(
            EventTruth(
                index=event.index,
                event_id=event.event_id,
                customer_id=customer.customer_id,
                route=receipt.route,
                sent_at=receipt.sent_at,
                prediction_id=receipt.prediction_id,
                shifts=event.shifts,
                churned=customer.churned,
                label_due_at=receipt.sent_at + delay,
            )
        )

    def _write(self, line: Header | EventTruth) -> None:
        try:
            self._file.write(msgspec.json.encode(line) + b"\n")
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> DataError:
        return DataError(f"{self.path} cannot be written: {error.strerror or error}; give another --truth")


def shift_truths(shifts: Sequence[Shift]) -> tuple[ShiftTruth, ...]:
    return tuple(
        ShiftTruth(
            spec=shift.spec,
            kind=shift.kind,
            columns=shift.columns,
            start=shift.onset.start,
            end=shift.onset.end if math.isfinite(shift.onset.end) else None,
            unit=shift.onset.unit,
        )
        for shift in shifts
    )


def read_truth(path: Path) -> Truth:
    """Raises DataError for a file that is missing or not a truth file. A line cut short by a crash ends the file."""
    headers, events = [], []
    for line in _lines(path):
        if isinstance(line, Header):
            headers.append(line)
        else:
            events.append(line)
    if not headers:
        raise DataError(f"{path} holds no header; give a file that 'python -m simulation run --truth' wrote")
    return Truth(tuple(headers), tuple(events))


def _cut_torn_line(path: Path) -> None:
    if not path.is_file():
        return
    written = path.read_bytes()
    whole = written.rfind(b"\n") + 1
    if whole < len(written):
        with path.open("r+b") as file:
            file.truncate(whole)


def _lines(path: Path) -> Iterator[Header | EventTruth]:
    decoder: Any = msgspec.json.Decoder(Header | EventTruth)
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    for number, line in enumerate(lines[:-1], start=1):  # what follows the last line end is empty, or was cut short
        try:
            yield decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise DataError(f"{path}, line {number}: {error}; this is not a truth file") from error
