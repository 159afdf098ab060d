"""The pictures in docs/images that are drawn by hand, as SVG that follows the reader's light or dark."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

STYLE = """
text { font: 13px system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif; fill: #1f2937; text-anchor: middle }
.name { font-weight: 600 } .note { font-size: 11px; fill: #6b7280 } .title { font-size: 12px; fill: #6b7280 }
.room { fill: #ecfdf5; stroke: #0f766e } .store { fill: #eff6ff; stroke: #3b6fb6 }
.other { fill: #f8fafc; stroke: #94a3b8 }
.group { fill: none; stroke: #94a3b8; stroke-dasharray: 4 4 } .line { fill: none; stroke: #64748b; stroke-width: 1.4 }
.tip { fill: #64748b }
@media (prefers-color-scheme: dark) {
  text { fill: #e5e7eb } .note, .title { fill: #9ca3af }
  .room { fill: #0b2f2b; stroke: #2dd4bf } .store { fill: #14243b; stroke: #7aa7e0 }
  .other { fill: #1f2937; stroke: #6b7280 }
  .group { stroke: #6b7280 } .line { stroke: #9ca3af } .tip { fill: #9ca3af }
}
"""
HEIGHT = 46


@dataclass(frozen=True)
class Box:
    """A thing of the picture: a room of ours, a store, or something of others; its middle is at x, y."""

    x: int
    y: int
    name: str
    note: str = ""
    kind: str = "room"
    width: int = 130

    def svg(self) -> str:
        left, top, height = self.x - self.width // 2, self.y - HEIGHT // 2, HEIGHT + 8
        shape = (
            f'<path class="store" d="M{left} {top + 6} a{self.width / 2} 6 0 0 1 {self.width} 0 v{height - 12} '
            f'a{self.width / 2} 6 0 0 1 -{self.width} 0 z"/><path class="store" fill="none" '
            f'd="M{left} {top + 6} a{self.width / 2} 6 0 0 0 {self.width} 0"/>'
            if self.kind == "store"
            else f'<rect class="{self.kind}" x="{left}" y="{top}" width="{self.width}" height="{HEIGHT}" rx="7"/>'
        )
        down = 5 if self.kind == "store" else 0
        line = self.y + down + (-2 if self.note else 5)
        lines = [f'<text class="name" x="{self.x}" y="{line}">{escape(self.name)}</text>']
        if self.note:
            lines.append(f'<text class="note" x="{self.x}" y="{self.y + down + 14}">{escape(self.note)}</text>')
        return shape + "".join(lines)


@dataclass(frozen=True)
class Arrow:
    """A way from point to point; its words stand at `at`."""

    points: tuple[tuple[int, int], ...]
    words: str = ""
    at: tuple[int, int] = (0, 0)

    def svg(self) -> str:
        way = " ".join(f"{'L' if i else 'M'}{x} {y}" for i, (x, y) in enumerate(self.points))
        said = f'<text class="note" x="{self.at[0]}" y="{self.at[1]}">{escape(self.words)}</text>' if self.words else ""
        return f'<path class="line" marker-end="url(#tip)" d="{way}"/>{said}'


@dataclass(frozen=True)
class Group:
    """A dashed frame around boxes, with its title on top."""

    left: int
    top: int
    width: int
    height: int
    title: str

    def svg(self) -> str:
        return (
            f'<rect class="group" x="{self.left}" y="{self.top}" width="{self.width}" height="{self.height}" rx="10"/>'
            f'<text class="title" x="{self.left + self.width // 2}" y="{self.top + 16}">{escape(self.title)}</text>'
        )


def draw(width: int, height: int, words: str, parts: list[Box | Arrow | Group]) -> str:
    """One picture; `words` say it to those who cannot see it."""
    tip = '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    tip += '<path class="tip" d="M0 0 8 4 0 8z"/></marker>'
    body = "\n".join(part.svg() for part in parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{escape(words)}">\n<style>{STYLE}</style>\n<defs>{tip}</defs>\n{body}\n</svg>\n'
    )


def loop() -> str:
    """The whole path on one line, and back: the README's picture."""
    return draw(
        900,
        250,
        "A CSV becomes features in S3; tuning logs candidates in MLflow; a RUN_ID leads HTTP and stream to one model; "
        "every prediction is logged once; the watch and the reports read the log.",
        [
            Box(70, 60, "your customers", "CSV · Excel · Parquet", "other"),
            Box(250, 60, "features", "versions in S3", "store"),
            Box(430, 60, "tune", "Prefect · hyperopt"),
            Box(620, 60, "MLflow", "runs · bundles · aliases", "store", 150),
            Box(810, 60, "promote", "evidence · gates"),
            Box(810, 190, "HTTP · stream", "Flask · Kinesis"),
            Box(590, 190, "the log", "MongoDB · SQLite", "store"),
            Box(380, 190, "the watch", "drift · alarms"),
            Box(190, 190, "reports", "Evidently"),
            Arrow(((135, 60), (183, 60)), "ingest", (159, 52)),
            Arrow(((315, 60), (363, 60))),
            Arrow(((495, 60), (543, 60)), "log", (518, 52)),
            Arrow(((695, 60), (743, 60))),
            Arrow(((810, 83), (810, 165)), "RUN_ID", (838, 128)),
            Arrow(((745, 190), (657, 190)), "each once", (700, 182)),
            Arrow(((525, 190), (447, 190))),
            Arrow(((590, 221), (590, 238), (190, 238), (190, 215))),
            Arrow(((380, 165), (380, 125), (430, 125), (430, 85)), "retrain", (405, 118)),
        ],
    )


def architecture() -> str:
    """Every room, what stands between them, and which way things go."""
    return draw(
        1000,
        500,
        "Rooms and what passes between them: ingest and tune write S3 and MLflow; web service and stream service load "
        "the model of a RUN_ID and write the prediction store; the watch and the reports read it.",
        [
            Group(150, 20, 320, 96, "orchestration · Prefect"),
            Box(70, 75, "CSV", "customers", "other", 90),
            Box(235, 75, "ingest", "clean · validate", width=120),
            Box(395, 75, "tune", "hyperopt · bundle", width=120),
            Box(235, 190, "S3", "feature store", "store", 120),
            Box(580, 75, "MLflow", "runs · bundles", "store", 120),
            Box(790, 190, "web_service", "Flask · uvicorn"),
            Box(580, 190, "journal", "on disk, synced", "store"),
            Box(940, 75, "callers", "HTTP", "other", 90),
            Box(790, 320, "stream_service", "Kinesis consumer"),
            Box(580, 320, "Kinesis", "in · results · dead letters", "store", 160),
            Box(395, 255, "prediction store", "MongoDB · SQLite", "store", 140),
            Box(235, 385, "monitoring", "quality · drift · alarms"),
            Box(70, 385, "Prometheus", "Alertmanager · Grafana", "other", 134),
            Box(395, 450, "reporting", "summary · Evidently"),
            Box(580, 450, "Nginx", "pages", "other", 110),
            Box(790, 450, "simulation", "customers · shifts · truth", width=150),
            Arrow(((115, 75), (173, 75))),
            Arrow(((295, 75), (333, 75))),
            Arrow(((235, 98), (235, 164)), "versions", (262, 140)),
            Arrow(((295, 194), (360, 194), (360, 100))),
            Arrow(((455, 75), (518, 75)), "candidates", (489, 56)),
            Arrow(((640, 75), (770, 75), (770, 165)), "RUN_ID", (700, 66)),
            Arrow(((920, 98), (920, 190), (857, 190)), "POST /predict", (917, 205)),
            Arrow(((725, 190), (647, 190)), "fsync", (686, 181)),
            Arrow(((515, 190), (430, 190), (430, 229)), "shipped once", (475, 181)),
            Arrow(((660, 312), (723, 312))),
            Arrow(((725, 330), (662, 330))),
            Arrow(((790, 295), (790, 262), (467, 262)), "log, publish, checkpoint", (630, 254)),
            Arrow(((770, 75), (875, 75), (875, 320), (857, 320))),
            Arrow(((340, 286), (340, 345), (250, 345), (250, 360))),
            Arrow(((170, 385), (139, 385))),
            Arrow(((395, 286), (395, 425))),
            Arrow(((460, 450), (523, 450))),
            Arrow(((715, 450), (660, 450), (660, 390), (580, 390), (580, 352)), "events", (687, 442)),
            Arrow(((865, 450), (960, 450), (960, 100)), "requests", (925, 442)),
        ],
    )


PICTURES = {"loop.svg": loop, "architecture.svg": architecture}
