"""Writes the reference pages and pictures that are made from code: `make docs`. A test fails when one is out of date.

python -m docs.build
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from churn import metrics, settings
from docs.commands import commands_page
from docs.diagrams import PICTURES
from monitoring.grafana import build as dashboards  # they hold paragraphs of operations.md
from simulation import stage  # its settings are in the table too

FOLDER = Path(__file__).resolve().parent
NOTE = "<!-- Made by `make docs` from the code; edit there. -->"


def settings_page() -> str:
    """Every variable of every concern, in the order of the classes."""
    lines = [NOTE, "# Settings", ""]
    lines += [
        "Every setting is an environment variable, read once when a room starts. boto3 reads its own:",
        "`AWS_ENDPOINT_URL`, `AWS_REGION`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and the rest.",
    ]
    for concern in settings.Settings.__subclasses__():
        if concern.__module__ not in (settings.__name__, stage.__name__):
            continue
        lines += [
            "",
            f"## {(inspect.getdoc(concern) or concern.__name__).rstrip('.')}",
            "",
            "| variable | type | default | what it is |",
        ]
        lines += ["| --- | --- | --- | --- |"]
        for name, field in concern.model_fields.items():
            kind = getattr(field.annotation, "__name__", str(field.annotation))
            default = f"`{field.default}`" if field.default not in ("", None) else "*empty*"
            lines.append(f"| `{name.upper()}` | {kind} | {default} | {field.description} |")
    return "\n".join(lines) + "\n"


def metrics_page() -> str:
    """Every metric of every class in churn.metrics, and those of the journal, with their labels."""
    lines = [NOTE, "# Metrics", "", "| metric | type | labels | what it says |", "| --- | --- | --- | --- |"]
    for _, group in sorted(vars(metrics).items()):
        if not (inspect.isclass(group) and group.__module__ == metrics.__name__ and group.__name__.endswith("Metrics")):
            continue
        registry = _Names()
        group(registry)
        for metric in registry.collectors:
            kind = getattr(metric, "_type", "gauge")
            name = getattr(metric, "_name", "") + ("_total" if kind == "counter" else "")
            labels = ", ".join(f"`{label}`" for label in getattr(metric, "_labelnames", ())) or "–"
            lines.append(f"| `{name}` | {kind} | {labels} | {getattr(metric, '_documentation', '')} |")
    nothing: dict[str, Any] = dict.fromkeys(inspect.signature(metrics.journal_families).parameters, 0)
    for family in metrics.journal_families(**nothing | {"rejected": {}}):
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = ", ".join(f"`{label}`" for label in getattr(family, "_labelnames", ())) or "–"
        lines.append(f"| `{name}` | {family.type} | {labels} | {family.documentation} |")
    return "\n".join(lines) + "\n"


class _Names(CollectorRegistry):
    """A registry that remembers its collectors in the order they came."""

    def __init__(self) -> None:
        super().__init__()
        self.collectors: list[Collector] = []

    def register(self, collector: Collector) -> None:
        self.collectors.append(collector)


PAGES = {
    "reference/settings.md": settings_page,
    "reference/metrics.md": metrics_page,
    "reference/commands.md": lambda: commands_page(NOTE),
    **{f"images/{name}": draw for name, draw in PICTURES.items()},
}


def main() -> None:
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")
        print(f"docs/{name}")
    dashboards.main()


if __name__ == "__main__":
    main()
