"""What the features of a tuning look like: one page, every column with what is missing and how leavers spread."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from orchestration.evidence_page import STYLE
from orchestration.training import TrainingSet

FIFTHS = 5
MOST_LEVELS = 8
BAR_CSS = """
.bar{display:inline-block;height:9px;background:var(--win);border-radius:2px;vertical-align:baseline;min-width:1px}
.spread{display:grid;grid-template-columns:max-content 1fr max-content;gap:1px 10px;align-items:center;font-size:12.5px}
"""


def data_report(data: TrainingSet) -> str:
    """Complete HTML."""
    manifest, contract = data.manifest, data.contract
    facts = {
        "source": manifest.source,
        "features": manifest.version,
        "customers": f"{manifest.rows:,}, of which {manifest.churned_rows / manifest.rows:.1%} left",
        "set aside": f"{manifest.quarantined_rows:,} rows",
        "split": ", ".join(
            f"{name} {len(rows):,}"
            for name, rows in (
                ("train", data.parts.train),
                ("validation", data.parts.validation),
                ("test", data.parts.test),
            )
        ),
        "contract": f"{contract.name} ({contract.sha256[:12]})",
        "sha256": manifest.sha256,
    }
    told = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    rows = "".join(_feature_row(data, feature.name) for feature in contract.features)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Data of {escape(contract.name)}</title><style>{STYLE}{BAR_CSS}</style>"
        f'<header><p class="over">Churnwatch · data</p><h1>{escape(contract.title)}</h1></header><main>'
        f"<section><dl>{told}</dl></section>{_warnings(manifest.validation)}"
        '<section><h2>Features</h2><p class="note">Leavers: the share that left, by fifths of a number or by level.'
        "</p><div class=scroll><table><thead><tr><th>Feature</th><th class=n>Missing</th><th class=n>Range</th>"
        f"<th>Leavers</th></tr></thead><tbody>{rows}</tbody></table></div></section></main></html>"
    )


def _warnings(validation: Any) -> str:
    broken = [one for one in validation.get("warnings", ()) if one.get("broken")]
    if not broken:
        return ""
    lines = "".join(f"<li>{escape(str(one['says']))}: {one['broken']:,} rows differ</li>" for one in broken)
    return f"<section><h2>Not as expected</h2><ul>{lines}</ul></section>"


def _feature_row(data: TrainingSet, name: str) -> str:
    column = data.frame[name]
    groups = list(_groups(column, data.labels))
    most = max((share for _, share, _ in groups), default=0.0) or 1.0
    spread = "".join(
        f'<span>{escape(label)}</span><span class="bar" style="width:{100 * share / most:.0f}%"></span>'
        f"<span>{share:.1%} of {count:,}</span>"
        for label, share, count in groups
    )
    return (
        f"<tr><td>{escape(name)}</td><td class=n>{column.isna().mean():.1%}</td><td class=n>{_range(column)}</td>"
        f"<td><div class=spread>{spread}</div></td></tr>"
    )


def _range(column: Any) -> str:
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column) or column.isna().all():
        return f"{column.nunique()} levels"
    return f"{_number(float(column.min()))} … {_number(float(column.max()))}"


def _groups(column: Any, labels: Any) -> Iterator[tuple[str, float, int]]:
    """Label, share that left, customers."""
    if pd.api.types.is_numeric_dtype(column) and column.nunique() > MOST_LEVELS:
        values = column.to_numpy(dtype=float, na_value=np.nan)
        edges = np.unique(np.nanquantile(values, np.linspace(0, 1, FIFTHS + 1)))
        for low, high in pairwise(edges):
            held = (values >= low) & ((values < high) | ((high == edges[-1]) & (values <= high)))
            yield from _share(f"{_number(low)} – {_number(high)}", held, labels)
    else:
        numeric = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
        levels = column.value_counts().index[:MOST_LEVELS]
        for level in sorted(levels) if numeric else levels:
            label = _number(level) if numeric else str(level)
            yield from _share(label, (column == level).fillna(False).to_numpy(dtype=bool), labels)
    yield from _share("missing", column.isna().to_numpy(dtype=bool), labels)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:,.4g}"


def _share(label: str, held: Any, labels: Any) -> Iterator[tuple[str, float, int]]:
    if held.any():
        yield label, float(labels[held].mean()), int(held.sum())
