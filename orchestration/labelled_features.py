"""The version of features that a retraining learns from: ingested customers, and labelled requests of the log."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from churn.contract import Contract
from churn.errors import DataError, FeatureStoreError
from churn.feature_store import FEATURES, QUARANTINE, FeatureStore, Manifest, new_version
from churn.prediction import as_asked
from churn.store import PredictionStore
from orchestration.claims import NothingNew
from orchestration.ingest import arrow_schema
from orchestration.matured import Learnable, Matured, matured_requests
from orchestration.raw import QUARANTINE_SCHEMA, REASONS_KEPT, file_sha256
from orchestration.validation import CUSTOMER, TARGET, Problems, find_problems


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a version is made of: the log as of a moment, at most so many of its customers, and the version's token."""

    as_of: datetime
    most: int
    token: str
    maximum_bad_share: float = 0.05
    fewest: int = 0


def publish(
    contract: Contract,
    features: FeatureStore,
    store: PredictionStore,
    pseudonym: Callable[[str], str],
    wanted: Wanted,
) -> Manifest:
    """Write a new version: the newest ingested one, its customers by the log's ids, and the log's matured requests.

    Where both know a customer, the log's row replaces the ingested one. Raises NothingNew, DataError for a log that
    does not fit the contract, FeatureStoreError, or StoreUnavailable.
    """
    base = newest_ingested(contract, features)
    matured = matured_requests(store, contract.name, wanted.as_of, wanted.most)
    if len(matured.rows) < wanted.fewest:
        raise NothingNew(
            f"the log of {contract.name} holds {len(matured.rows)} labelled requests to learn from, "
            f"{wanted.fewest} are needed (RETRAIN_MINIMUM_LABELS); {_left_out(matured)}"
        )
    logged, problems = _checked(contract, matured, wanted.maximum_bad_share)
    ingested = features.read(contract.name, base.version)
    if not base.known_by_log:
        ingested[CUSTOMER] = ingested[CUSTOMER].map(pseudonym)
    kept = ingested[~ingested[CUSTOMER].isin(set(logged[CUSTOMER]))]
    frame = pd.concat([kept, logged], ignore_index=True)
    with tempfile.TemporaryDirectory() as temporary:
        table, quarantine = Path(temporary) / FEATURES, Path(temporary) / QUARANTINE
        pq.write_table(pa.Table.from_pandas(frame, schema=arrow_schema(contract), preserve_index=False), table)
        pq.write_table(_quarantined(matured, problems), quarantine)
        manifest = Manifest(
            contract=contract.name,
            contract_sha256=contract.sha256,
            version=new_version(wanted.as_of, wanted.token),
            rows=len(frame),
            churned_rows=int(frame[TARGET].sum()),
            quarantined_rows=len(problems),
            sha256=file_sha256(table),
            quarantine_sha256=file_sha256(quarantine),
            source=f"{base.version} and {len(logged)} labelled requests of the log",
            source_sha256=base.sha256,
            created_at=wanted.as_of,
            validation=_validation(frame, matured, problems, len(logged), len(ingested) - len(kept)),
            base_version=base.version,
        )
        features.write(manifest, table, quarantine)
    return manifest


def newest_ingested(contract: Contract, features: FeatureStore) -> Manifest:
    """Retrainings start from what was ingested and ask the log anew, so that none builds on another's copy."""
    features.latest(contract.name)  # says what to do where there is none
    for version in reversed(features.versions(contract.name)):
        manifest = features.manifest(contract.name, version)
        if manifest.base_version:
            continue
        if manifest.contract_sha256 != contract.sha256:
            raise FeatureStoreError(
                f"{features.url(contract.name, version)} was made by contract {manifest.contract_sha256[:12]}, "
                f"contracts/{contract.name}.toml is now {contract.hash}; ingest the file again"
            )
        return manifest
    raise FeatureStoreError(f"{contract.name} has no ingested version of features; run 'orchestration ingest' first")


def _checked(contract: Contract, matured: Matured, maximum_bad_share: float) -> tuple[pd.DataFrame, Problems]:
    """The rows that fit the contract as it is now, and what is wrong with the others."""
    frame = _frame(contract, matured.rows)
    problems = find_problems(frame, contract, lambda _: False) if len(frame) else {}
    if len(problems) > maximum_bad_share * len(frame):
        first = "; ".join(str(problem) for problem in next(iter(problems.values())))
        raise DataError(
            f"{len(problems)} of {len(frame)} labelled requests do not fit contract {contract.name} {contract.hash}, "
            f"more than the {maximum_bad_share:.0%} that MAXIMUM_BAD_SHARE allows; the first: {first}"
        )
    return frame.drop(index=list(problems)), problems


def _frame(contract: Contract, rows: list[Learnable]) -> pd.DataFrame:
    """As cleaning.py makes it: floats for numbers, else objects, None where missing."""
    columns: dict[str, Any] = {CUSTOMER: pd.Series([row.customer_id for row in rows], dtype=object)}
    asked = [as_asked(row.prediction) for row in rows]
    for feature in contract.features:
        values = [features.get(feature.name) for features in asked]
        columns[feature.name] = pd.Series(values, dtype="float64" if feature.is_numeric else object)
    columns[TARGET] = pd.Series([row.churned for row in rows], dtype=object)
    return pd.DataFrame(columns)


def _quarantined(matured: Matured, problems: Problems) -> pa.Table:
    rows = [
        {
            "line": row,
            "reason": "; ".join(str(problem) for problem in found),
            "row": json.dumps(matured.rows[row].prediction.features, ensure_ascii=False),
        }
        for row, found in sorted(problems.items())
    ]
    return pa.Table.from_pylist(rows, schema=QUARANTINE_SCHEMA)


def _validation(
    frame: pd.DataFrame, matured: Matured, problems: Problems, logged: int, replaced: int
) -> dict[str, Any]:
    reasons = Counter(f"{one.field}: expected {one.expected}" for found in problems.values() for one in found)
    times = [row.prediction.created_at.isoformat() for row in (matured.rows[:1] + matured.rows[-1:])]
    return {
        "reasons": dict(reasons.most_common(REASONS_KEPT)),
        "missing": {str(name): int(count) for name, count in frame.isna().sum().items() if count},
        "unknown": {},
        "warnings": [],
        "log": {
            "rows": logged,
            "from": times[0] if times else None,
            "to": times[-1] if times else None,
            "replaced_customers": replaced,
            "left_out": dict(matured.left_out),
            "immature_cohorts": matured.immature_cohorts,
        },
    }


def _left_out(matured: Matured) -> str:
    told = [f"{count} left out: {reason}" for reason, count in matured.left_out.items()]
    told.append(f"{matured.immature_cohorts} cohorts have too few labels yet")
    return "; ".join(told)
