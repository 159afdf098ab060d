"""Inline SVG: no script, no font, no file beside it. The window is filled and the reference an outline, so that both
are told apart without colour; every chart says in words what it shows to those who cannot see it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from reporting.document import Bars, Slot

LABEL_LENGTH = 16
TWO_SIDES = (("kw", "this window, filled"), ("kr", "reference, outline"))
BEYOND = ("kb", "beyond the reference’s range")
PARTS = (("kw", "answered “will leave”"), ("ka", "all answers"))


def in_words(name: str, bars: Bars) -> str:
    """What a chart of a distribution shows: the three cells that differ most."""
    moved = sorted(range(len(bars.labels)), key=lambda index: -abs(bars.window[index] - bars.reference[index]))[:3]
    cells = [f"{bars.labels[i]}: {percent(bars.window[i])}, was {percent(bars.reference[i])}" for i in moved]
    return f"{name}, window against reference. {'; '.join(cells)}"


def key(*entries: tuple[str, str]) -> str:
    """What the fills and lines of the charts below it mean."""
    spans = "".join(f"<span><i class={kind}></i>{escape(words)}</span>" for kind, words in entries)
    return f'<div class="key">{spans}</div>'


def distribution(bars: Bars, description: str) -> str:
    """A column's two distributions, large: stretches of numbers upright, levels lying down."""
    if bars.shape == "levels":
        return _lying(bars, description)
    return _upright(bars, description)


def spark(bars: Bars, description: str) -> str:
    """The same on a line of a table: 96 by 22 pixels, no labels."""
    width, height = 96.0, 22.0
    top = max([*bars.reference, *bars.window, 1e-9])
    step = width / len(bars.labels)
    filled = _filled([share / top * height for share in bars.window], step, height, 0.0)
    outline = _outline([share / top * height for share in bars.reference], step, height, 0.0)
    return _svg(
        width, height, description, f'<path class="win" d="{filled}"/><path class="ref" d="{outline}"/>', "spark"
    )


def score(bars: Bars, thresholds: Sequence[float], description: str) -> str:
    """Answers from 0 to 1, with the thresholds drawn in."""
    width, height, base = 480.0, 150.0, 128.0
    top = max([*bars.reference, *bars.window, 1e-9])
    step = width / len(bars.labels)
    parts = [
        f'<path class="win" d="{_filled([s / top * (base - 14) for s in bars.window], step, base, 0.0)}"/>',
        f'<path class="ref" d="{_outline([s / top * (base - 14) for s in bars.reference], step, base, 0.0)}"/>',
        _line(0, base, width, base, "axis"),
    ]
    for threshold in thresholds[:3]:
        x = threshold * width
        anchor = "end" if threshold > 0.7 else "start"
        shift = -4 if anchor == "end" else 4
        parts += [_line(x, 2, x, base, "mark"), _text(x + shift, 11, f"threshold {threshold:.3g}", anchor)]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        anchor = "start" if share == 0 else "end" if share == 1 else "middle"
        parts.append(_text(share * width, base + 15, f"{share:g}", anchor))
    return _svg(width, height, description, "".join(parts), "chart wide")


def traffic(slots: Sequence[Slot], start: str, end: str, description: str) -> str:
    """Rows over the window; of each bar the part answered `churn` is filled."""
    width, height, base = 480.0, 150.0, 128.0
    top = max([slot.rows for slot in slots] + [1])
    step = width / max(len(slots), 1)
    tall = [slot.rows / top * (base - 18) for slot in slots]
    part = [slot.flagged / top * (base - 18) for slot in slots]
    parts = [
        f'<path class="all" d="{_filled(tall, step, base, 1.0)}"/>',
        f'<path class="win" d="{_filled(part, step, base, 1.0)}"/>',
        _line(0, base, width, base, "axis"),
        _text(0, 11, f"highest bar: {top:,} rows", "start"),
        _text(0, base + 15, start, "start"),
        _text(width, base + 15, end, "end"),
    ]
    return _svg(width, height, description, "".join(parts), "chart wide")


def _upright(bars: Bars, description: str) -> str:
    width, height, base, gap = 320.0, 132.0, 112.0, 9.0
    inner = slice(1, -1)
    top = max([*bars.reference, *bars.window, 1e-9])
    scale = (base - 6) / top
    edge = 16.0  # the cells beyond the reference's range stand apart at both ends
    step = (width - 2 * (edge + gap)) / (len(bars.labels) - 2)
    left = edge + gap
    parts = [
        f'<path class="win" d="{_filled([s * scale for s in bars.window[inner]], step, base, 0.0, left)}"/>',
        f'<path class="ref" d="{_outline([s * scale for s in bars.reference[inner]], step, base, 0.0, left)}"/>',
        _line(left, base, width - left, base, "axis"),
    ]
    for x, index in ((0.0, 0), (width - edge, -1)):
        tall = bars.window[index] * scale
        if bars.window[index] > 0:
            parts.append(f'<path class="beyond" d="{_filled([max(tall, 1.5)], edge, base, 0.0, x)}"/>')
        if bars.window[index] > 0 or bars.reference[index] > 0:
            parts.append(_line(x, base, x + edge, base, "axis"))
            parts.append(_text(x if index == 0 else width, base + 13, "lower" if index == 0 else "higher", _end(index)))
    low, high = _ends(bars)
    parts += [
        _text(left + _room(bars, 0), base + 13, low, "start"),
        _text(width - left - _room(bars, -1), base + 13, high, "end"),
    ]
    return _svg(width, height, description, "".join(parts))


def _ends(bars: Bars) -> tuple[str, str]:
    if bars.shape == "values":
        return bars.labels[1], bars.labels[-2]
    return bars.labels[0].removeprefix("below "), bars.labels[-1].removeprefix("above ")


def _room(bars: Bars, index: int) -> float:
    """The axis label moves in when the word beside it, lower or higher, is there."""
    return 20.0 if bars.window[index] > 0 or bars.reference[index] > 0 else 0.0


def _end(index: int) -> str:
    return "start" if index == 0 else "end"


def _lying(bars: Bars, description: str) -> str:
    row, width, left, right = 24.0, 320.0, 106.0, 114.0
    top = max([*bars.reference, *bars.window, 1e-9])
    scale = (width - left - right) / top
    parts = []
    for index, label in enumerate(bars.labels):
        y = index * row
        old, new = bars.reference[index], bars.window[index]
        shown = label if len(label) <= LABEL_LENGTH else f"{label[: LABEL_LENGTH - 1]}…"
        title = f"<title>{escape(label)}</title>" if shown != label else ""
        parts += [
            _text(left - 8, y + 15, shown, "end", title),
            f'<path class="win" d="M{left:g} {y + 4:.1f}h{new * scale:.1f}v8h-{new * scale:.1f}z"/>',
            f'<path class="ref" d="M{left:g} {y + 14:.1f}h{old * scale:.1f}v5h-{old * scale:.1f}z"/>',
            _text(width, y + 15, f"{percent(new)} was {percent(old)}", "end"),
        ]
    return _svg(width, row * len(bars.labels), description, "".join(parts))


def chance(p_value: float) -> str:
    """A p-value as text: 0.012, below 1e-9."""
    return "<1e-9" if p_value < 1e-9 else f"{p_value:.2g}"


def percent(share: float) -> str:
    """A share as text: 12.5 %, <0.1 %, 0."""
    if share == 0:
        return "0"
    if share < 0.001:
        return "<0.1 %"
    return f"{share:.1%}".replace(".0%", "%").replace("%", " %")


def _filled(heights: Sequence[float], step: float, base: float, gap: float, left: float = 0.0) -> str:
    if gap == 0:
        return _outline(heights, step, base, gap, left)  # in one piece: bars side by side show hairlines between them
    parts = []
    for index, tall in enumerate(heights):
        if tall > 0:
            wide = step - gap
            parts.append(f"M{left + index * step:.1f} {base:g}v-{tall:.1f}h{wide:.1f}v{tall:.1f}z")
    return "".join(parts)


def _outline(heights: Sequence[float], step: float, base: float, gap: float, left: float = 0.0) -> str:
    points = [f"M{left:.1f} {base:g}"]
    for index, tall in enumerate(heights):
        points.append(f"V{base - tall:.1f}H{left + (index + 1) * step - gap:.1f}")
    return "".join([*points, f"V{base:g}"])


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<path class="{kind}" d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}"/>'


def _text(x: float, y: float, text: str, anchor: str, inside: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}{inside}</text>'


def _svg(width: float, height: float, description: str, content: str, kind: str = "chart") -> str:
    return (
        f'<svg class="{kind}" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(description)}">'
        f"{content}</svg>"
    )
