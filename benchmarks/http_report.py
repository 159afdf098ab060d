"""What `make bench-http` tells: a table, the goals and how far from them, http.json, and a chart."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.http_chart import chart

RIVALS = ("mlserver", "bentoml", "litserve")
Document = Mapping[str, Any]


class Goal(NamedTuple):
    """`value` is None where a contestant it needs was not measured."""

    words: str
    limit: float
    at_least: bool
    value: float | None

    @property
    def reached(self) -> bool | None:
        if self.value is None:
            return None
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def goals(document: Document) -> list[Goal]:
    """What was asked of the service, and what was measured."""
    contestants: dict[str, dict[str, Any]] = {one["name"]: one for one in document["contestants"]}

    def figure(name: str, connections: int, key: str) -> float | None:
        levels: dict[str, dict[str, float]] = contestants.get(name, {}).get("connections", {})
        return levels.get(str(connections), {}).get(key)

    def fact(key: str) -> float | None:
        value: float | None = contestants.get("ours", {}).get(key)
        return value

    def against(name: str, connections: int, key: str) -> float | None:
        mine, theirs = figure("ours", connections, key), figure(name, connections, key)
        return mine / theirs if mine and theirs else None

    rate, cpu = "requests_per_second", "cpu_us_per_request"
    rivals = [ratio for name in RIVALS if (ratio := against(name, 32, rate)) is not None]
    return [
        Goal("CPU at 32 connections, of an empty Flask route's (aim: 0.7)", 1.0, False, against("floor", 32, cpu)),
        Goal("requests/s at 32 connections, of an empty Flask route's", 0.8, True, against("floor", 32, rate)),
        Goal("requests/s at 256 connections, of an empty Flask route's", 1.0, True, against("floor", 256, rate)),
        Goal("p99 at 32 connections, ms", 25.0, False, figure("ours", 32, "p99_ms")),
        Goal("times mlflow models serve, requests/s at 32 connections", 30.0, True, against("mlflow", 32, rate)),
        Goal("times the best of MLServer, BentoML and LitServe", 8.0, True, min(rivals, default=None)),
        Goal("10,000 rows in one request, ms", 150.0, False, fact("list_of_10000_ms")),
        Goal("memory of a worker, MB", 200.0, False, fact("worker_memory_mb")),
        Goal("start to the first answer, s", 3.0, False, fact("start_seconds")),
    ]  # fmt: skip


def write(document: Document, folder: Path) -> None:
    """Write http.json and http.svg into a folder."""
    reached = [{**goal._asdict(), "reached": goal.reached} for goal in goals(document)]
    folder.mkdir(exist_ok=True)
    (folder / "http.json").write_text(json.dumps({**document, "goals": reached}, indent=1) + "\n", encoding="utf-8")
    (folder / "http.svg").write_text(chart(document), encoding="utf-8")


def show(document: Document) -> None:
    """Print all of it."""
    machine = document["machine"]
    print(f"\n{document['command']}\n{', '.join(f'{name} {value}' for name, value in machine.items())}")
    print(f"{document['model']}; {document['workers']} workers; medians of {document['rounds']} rounds\n")
    print(_table(document))
    for goal in goals(document):
        if goal.value is not None:
            sign = "at least" if goal.at_least else "at most"
            print(
                f"{'reached' if goal.reached else 'MISSED ':7} {goal.value:10.2f}  {goal.words}: {sign} {goal.limit:g}"
            )


def _table(document: Document) -> str:
    columns: list[tuple[str, Callable[[Mapping[str, Any]], str]]] = [
        ("", lambda one: one["name"]),
        *((f"req/s @{number}", _cell(number, "requests_per_second", ",.0f")) for number in (1, 32, 256)),
        ("p50 ms @1", _cell(1, "p50_ms", ".2f")),
        ("p50 ms @32", _cell(32, "p50_ms", ".2f")),
        ("p99 ms @32", _cell(32, "p99_ms", ".1f")),
        ("CPU us @1", _cell(1, "cpu_us_per_request", ",.0f")),
        ("CPU us @32", _cell(32, "cpu_us_per_request", ",.0f")),
        ("of it under load", _cell(32, "cpu_us_per_request_under_load", ",.0f")),
        ("errors", lambda one: f"{sum(c['refused'] + c['broken'] for c in one['connections'].values()):.0f}"),
        ("start s", lambda one: f"{one['start_seconds']:.1f}"),
        ("worker MB", lambda one: f"{one['worker_memory_mb']:.0f}"),
    ]
    measured = [one for one in document["contestants"] if one["connections"]]
    rows = [[title for title, _ in columns], *([cell(one) for _, cell in columns] for one in measured)]
    widths = [max(len(row[index]) for row in rows) for index in range(len(columns))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    lines += [f"{one['name']}: {one['reason']}" for one in document["contestants"] if "reason" in one]
    return "\n".join(lines) + "\n"


def _cell(connections: int, key: str, form: str) -> Callable[[Mapping[str, Any]], str]:
    def cell(one: Mapping[str, Any]) -> str:
        value = one["connections"].get(str(connections), {}).get(key)
        return "" if value is None else format(value, form)

    return cell
