"""The chart of `make bench-http`: bars by hand, light and dark, no library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

WIDTH, LEFT, PANEL, GAP, BAR, STEP, TOP = 960, 190, 300, 110, 20, 34, 86
PANELS = (
    ("requests a second (more is better)", "requests_per_second", ",.0f"),
    ("CPU microseconds a request (less is better)", "cpu_us_per_request", ",.0f"),
)
LABELS = {
    "ours": "Churnwatch, durable",
    "floor": "empty Flask route",
    "mlflow": "mlflow models serve",
    "mlserver": "MLServer",
    "bentoml": "BentoML",
    "litserve": "LitServe",
    "fastapi": "FastAPI + pandas",
    "ours-store-down": "Churnwatch, store down",
}
STYLE = """
  text { font: 14px system-ui, sans-serif; fill: #1c2530 }
  .title { font-size: 18px; font-weight: 600 } .small { font-size: 12px; fill: #5c6773 }
  .page { fill: #fff } .bar { fill: #a9b4c0 } .floor { fill: #7b8794 } .ours { fill: #0b7285 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6eaef } .small { fill: #9aa5b1 } .page { fill: #14191f }
    .bar { fill: #4a5663 } .floor { fill: #74808d } .ours { fill: #3bc9db }
  }
"""


def chart(document: Mapping[str, Any], connections: int = 32) -> str:
    """An SVG of two panels of bars, the quickest first."""
    measured = [one for one in document["contestants"] if str(connections) in one["connections"]]
    figures = {one["name"]: one["connections"][str(connections)] for one in measured}
    names = sorted(figures, key=lambda name: -figures[name]["requests_per_second"])
    height = TOP + STEP * len(names) + 44
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(_spoken(names, figures))}">',
        f'<style>{STYLE}</style><rect class="page" width="{WIDTH}" height="{height}" rx="8"/>',
        f'<text class="title" x="20" y="32">One prediction over HTTP, {connections} connections, '
        f"{document['workers']} workers</text>",
        *(_label(name, row) for row, name in enumerate(names)),
    ]
    for number, (title, key, form) in enumerate(PANELS):
        x = LEFT + number * (PANEL + GAP)
        parts.append(f'<text class="small" x="{x}" y="{TOP - 16}">{title}</text>')
        parts += _bars(x, names, [figures[name][key] for name in names], form)
    parts.append(f'<text class="small" x="20" y="{height - 16}">{escape(_footer(document))}</text></svg>')
    return "\n".join(parts) + "\n"


def _label(name: str, row: int) -> str:
    return (
        f'<text x="{LEFT - 12}" y="{TOP + STEP * row + 15}" text-anchor="end">{escape(LABELS.get(name, name))}</text>'
    )


def _bars(x: int, names: Sequence[str], values: Sequence[float], form: str) -> list[str]:
    scale = PANEL / max(*values, 1e-9)
    parts = []
    for row, (name, value) in enumerate(zip(names, values, strict=True)):
        y, length = TOP + STEP * row, max(2.0, value * scale)
        kind = name if name in ("ours", "floor") else "bar"
        parts.append(f'<rect class="{kind}" x="{x}" y="{y}" width="{length:.1f}" height="{BAR}" rx="3"/>')
        parts.append(f'<text x="{x + length + 8:.1f}" y="{y + 15}">{value:{form}}</text>')
    return parts


def _spoken(names: Sequence[str], figures: Mapping[str, Mapping[str, float]]) -> str:
    return "; ".join(
        f"{LABELS.get(name, name)} {figures[name]['requests_per_second']:,.0f} requests a second, "
        f"{figures[name]['cpu_us_per_request']:,.0f} microseconds of CPU"
        for name in names
    )


def _footer(document: Mapping[str, Any]) -> str:
    machine = document["machine"]
    return (
        f"{document['model']}; medians of {document['rounds']} rounds; "
        f"{machine['cpu']}, {machine['cores']} cores. Peers neither check, calibrate nor log."
    )
