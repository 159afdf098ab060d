"""Each column of a window: the watch's verdict, the quality of its values, and both distributions for its chart."""

from __future__ import annotations

from churn.contract import Contract, Feature
from churn.drift import ColumnVerdict, WindowVerdict
from churn.histogram import INVALID, MISSING, UNKNOWN, Column, Histograms, Profile
from reporting.bars import bars
from reporting.document import ColumnReport
from reporting.tally import Tally

OUTPUTS = {"churn_probability": "The answer: calibrated probability of leaving", "churn": "The answer: will leave"}


def column_reports(
    contract: Contract | None, tally: Tally, verdict: WindowVerdict, profile: Profile | None
) -> list[ColumnReport]:
    """In the order of the bundle's columns; without a bundle, of the contract's; empty for an empty window."""
    if not tally.rows:
        return []
    features = {feature.name: feature for feature in contract.features} if contract else {}
    if profile is None or tally.histograms is None:
        return _without_reference(features, tally)
    judged = {column.column: column for column in verdict.columns}
    return [
        _column(
            column, features.get(column.name), judged.get(column.name), verdict, profile.reference, tally.histograms
        )
        for column in profile.layout
    ]


def _column(
    column: Column,
    feature: Feature | None,
    judged: ColumnVerdict | None,
    verdict: WindowVerdict,
    reference: Histograms,
    window: Histograms,
) -> ColumnReport:
    old, new = reference.counts[column.name], window.counts[column.name]
    outside = int(new[0] + new[column.values - 1]) if column.is_numeric and column.edges else 0
    return ColumnReport(
        name=column.name,
        description=feature.description if feature else OUTPUTS.get(column.name, ""),
        unit=feature.unit if feature else None,
        verdict="not judged" if judged is None else "drifted" if judged.drifted else "quiet",
        reason=judged.reason if judged else verdict.reason,
        method=judged.method if judged else None,
        p_value=judged.adjusted_p_value if judged else None,
        effect=judged.effect if judged else None,
        psi=judged.psi if judged else None,
        missing_reference=int(old[MISSING]) / max(reference.rows, 1),
        missing_window=int(new[MISSING]) / window.rows,
        unknown_window=int(new[UNKNOWN]) / window.rows,
        invalid_window=int(new[INVALID]) / window.rows,
        outside_window=outside / window.rows,
        bars=bars(column, old, new),
    )


def _without_reference(features: dict[str, Feature], tally: Tally) -> list[ColumnReport]:
    """Quality needs no reference: what was missing and unknown can be told without the bundle."""
    names = list(features) or sorted({*tally.missing, *tally.unknown})
    return [
        ColumnReport(
            name=name,
            description=features[name].description if name in features else "",
            unit=features[name].unit if name in features else None,
            verdict="not judged",
            reason="nothing to compare with",
            missing_window=tally.missing[name] / tally.rows,
            unknown_window=tally.unknown[name] / tally.rows,
        )
        for name in names
    ]
