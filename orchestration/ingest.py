"""Customers in a file -> a version of features in S3: read in chunks, clean, validate, set bad rows aside, publish.

Memory is bounded by the chunk, not by the file. Files are made in a temporary folder and uploaded at the end, the
manifest last, so that a failed ingest leaves nothing.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from churn.command_line import progress
from churn.contract import Contract
from churn.encoder import frame_records
from churn.errors import DataError, FolderUnusable
from churn.feature_store import FEATURES, NEWEST, QUARANTINE, FeatureStore, Manifest, new_version
from churn.store.interface import Customer, PredictionStore
from orchestration.cleaning import Cleaner
from orchestration.expectations import Expectations
from orchestration.raw import QUARANTINE_SCHEMA, REASONS_KEPT, Raw, file_sha256, open_file, open_gathered
from orchestration.source import Chunk, open_source
from orchestration.validation import CUSTOMER, TARGET, Problems, find_problems

REASONS_SHOWN = 5
CUSTOMERS_A_BATCH = 5_000
WRONG_LENGTH = "expected {} fields, as in the header"
ARROW_TYPES = {"number": pa.float64(), "integer": pa.int64(), "boolean": pa.bool_()}


@dataclass
class Tally:
    """What an ingest has seen so far."""

    rows: int = 0
    kept: int = 0
    churned: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    warnings: list[dict[str, Any]] = field(default_factory=list)

    @property
    def bad(self) -> int:
        return self.rows - self.kept

    def summary(self) -> str:
        """The most frequent reasons, for a person."""
        shown = [f"{count} x {reason}" for reason, count in self.reasons.most_common(REASONS_SHOWN)]
        more = len(self.reasons) - len(shown)
        return "; ".join(shown) + (f"; and {more} other reasons" if more > 0 else "")


def ingest(
    path: Path,
    contract: Contract,
    store: FeatureStore,
    now: datetime,
    token: str,
    maximum_bad_share: float = 0.05,
    cut_off: date | None = None,
) -> Manifest:
    """Publish a file as a new version. `token` is 8 hexadecimal digits for the version's name.

    Of a file of transactions the customers are as of `cut_off`, the latest day that lets them be judged unless given.
    Raises DataError for a file that cannot be used (too many bad rows among the reasons), FolderUnusable when the
    temporary folder is full, or FeatureStoreError.
    """
    opened = partial(open_file, path, contract, cut_off, maximum_bad_share)
    return _publish(opened, contract, store, now, token, maximum_bad_share)


def ingest_stored(
    transactions: PredictionStore,
    contract: Contract,
    store: FeatureStore,
    now: datetime,
    token: str,
    maximum_bad_share: float = 0.05,
    cut_off: date | None = None,
) -> Manifest:
    """Publish all transactions that the prediction store has gathered as a new version; its customers are known by the
    ids that the log has. Raises as `ingest` does, and StoreUnavailable."""
    opened = partial(open_gathered, transactions, contract, cut_off)
    return _publish(opened, contract, store, now, token, maximum_bad_share)


def _publish(
    opened: Callable[[Path], AbstractContextManager[Raw]],
    contract: Contract,
    store: FeatureStore,
    now: datetime,
    token: str,
    maximum_bad_share: float,
) -> Manifest:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        features, quarantine = folder / FEATURES, folder / QUARANTINE
        newest = None
        try:
            with opened(folder) as raw:
                tally = _convert(raw.table, contract, features, quarantine, raw.bad_lines)
                if raw.newest is not None:
                    newest = folder / NEWEST
                    _convert(raw.newest, contract, newest, folder / "unused.parquet", labelled=False)
        except OSError as error:  # those of the source are DataErrors by now
            raise FolderUnusable(folder.parent, error) from error
        _judge(raw.place, tally, maximum_bad_share)
        manifest = Manifest(
            contract=contract.name,
            contract_sha256=contract.sha256,
            version=new_version(now, token),
            rows=tally.kept,
            churned_rows=tally.churned,
            quarantined_rows=tally.bad + raw.bad_count,
            sha256=file_sha256(features),
            quarantine_sha256=file_sha256(quarantine),
            source=raw.name,
            source_sha256=raw.sha256(),
            created_at=now,
            validation={
                "reasons": dict(tally.reasons.most_common(REASONS_KEPT)),
                "missing": dict(tally.missing),
                "unknown": dict(tally.unknown),
                "warnings": tally.warnings,
                **raw.facts,
            },
            newest_sha256=file_sha256(newest) if newest else None,
            newest_as_of=raw.as_of,
            known_by_log=raw.known_by_log,
        )
        store.ensure_bucket()
        store.write(manifest, features, quarantine, newest)
    return manifest


def put_customers(
    contract: Contract,
    version: str,
    features: FeatureStore,
    store: PredictionStore,
    pseudonym: Callable[[str], str],
) -> int:
    """Copy a version's rows into the online view, for callers who ask by id. Safe to repeat.

    The view knows customers by their `pseudonym`, as the log does. Where features come out of transactions, it holds
    them as of the last of these, not as of the cut-off that a model learns from.
    """
    manifest = features.manifest(contract.name, version)
    known_as = str if manifest.known_by_log else pseudonym
    as_of = manifest.newest_as_of or manifest.created_at
    written = 0
    for part in features.newest(contract.name, version, CUSTOMERS_A_BATCH):
        fields = frame_records(part, contract.feature_names)
        customers = zip(part[CUSTOMER], fields, strict=True)
        written += store.put_customers(
            contract.name, [Customer(known_as(str(customer_id)), one, as_of) for customer_id, one in customers]
        )
    return written


def _convert(
    path: Path,
    contract: Contract,
    features: Path,
    quarantine: Path,
    bad_lines: Iterable[pa.Table] = (),
    labelled: bool = True,
) -> Tally:
    cleaner, seen, tally = Cleaner(contract), set[str](), Tally()
    schema, expectations = arrow_schema(contract, labelled), Expectations(contract)
    with (
        open_source(path, contract) as chunks,
        pq.ParquetWriter(features, schema) as kept_rows,
        pq.ParquetWriter(quarantine, QUARANTINE_SCHEMA) as bad_rows,
        progress() as say,
    ):
        for part in bad_lines:
            bad_rows.write_table(part)
        for chunk in chunks:
            frame, problems, unknown = cleaner.clean(chunk.texts)
            for row, found in find_problems(frame, contract, seen.__contains__).items():
                known = {problem.field for problem in problems.get(row, ())}
                problems.setdefault(row, []).extend(one for one in found if one.field not in known)
            expectations.look(frame, chunk.lines)
            kept = frame.drop(index=list(problems))
            seen.update(kept[CUSTOMER])
            _count(tally, chunk, kept, problems, unknown)
            kept_rows.write_table(pa.Table.from_pandas(kept, schema=schema, preserve_index=False))
            bad_rows.write_table(_quarantined(chunk, problems))
            say(f"{tally.rows:,} rows of {path.name}")
    tally.warnings = expectations.told()
    return tally


def _count(
    tally: Tally, chunk: Chunk, kept: pd.DataFrame, problems: Problems, unknown: Mapping[str, NDArray[np.bool_]]
) -> None:
    tally.rows += len(chunk.lines) + len(chunk.broken)
    tally.kept += len(kept)
    tally.churned += sum(kept[TARGET])
    tally.unknown.update({name: int(marks[kept.index].sum()) for name, marks in unknown.items()})
    tally.missing.update({str(name): int(count) for name, count in kept.isna().sum().items() if count})
    for found in problems.values():
        tally.reasons.update(f"{problem.field}: expected {problem.expected}" for problem in found)
    tally.reasons.update(WRONG_LENGTH.format(len(chunk.header)) for _ in chunk.broken)


def _quarantined(chunk: Chunk, problems: Problems) -> pa.Table:
    """Bad rows in the order of the file: the line each ends on, every reason, and the row itself."""
    wrong_length = WRONG_LENGTH.format(len(chunk.header))
    rows: list[dict[str, Any]] = [
        {
            "line": chunk.lines[row],
            "reason": "; ".join(str(problem) for problem in found),
            "row": json.dumps(dict(zip(chunk.header, chunk.rows[row], strict=True)), ensure_ascii=False),
        }
        for row, found in problems.items()
    ]
    rows += [
        {"line": line, "reason": f"{len(row)} fields: {wrong_length}", "row": json.dumps(row, ensure_ascii=False)}
        for line, row in chunk.broken
    ]
    return pa.Table.from_pylist(sorted(rows, key=lambda row: row["line"]), schema=QUARANTINE_SCHEMA)


def _judge(path: str, tally: Tally, maximum_bad_share: float) -> None:
    if not tally.rows:
        raise DataError(f"{path}: a header and no rows; nothing to ingest")
    if tally.bad > maximum_bad_share * tally.rows:
        raise DataError(
            f"{path}: {tally.bad} of {tally.rows} rows are bad, more than the {maximum_bad_share:.0%} that "
            f"MAXIMUM_BAD_SHARE allows: {tally.summary()}"
        )
    if tally.churned in (0, tally.kept):
        kind = "stayed" if tally.churned == 0 else "left"
        raise DataError(f"{path}: all {tally.kept} customers {kind}; a model needs both, so give more data")


def arrow_schema(contract: Contract, labelled: bool = True) -> pa.Schema:
    fields = [(feature.name, ARROW_TYPES.get(feature.type, pa.string())) for feature in contract.features]
    return pa.schema([(CUSTOMER, pa.string()), *fields, *([(TARGET, pa.bool_())] if labelled else [])])
