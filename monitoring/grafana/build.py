"""Writes the provisioned dashboards: `make dashboards`. A test fails when one on disk is not what the code builds.

python -m monitoring.grafana.build
"""

from __future__ import annotations

import json
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from monitoring.grafana import business, drift, serving, stream

FOLDER = Path(__file__).resolve().parent / "dashboards"
DASHBOARDS = {
    "drift.json": drift.build,
    "serving.json": serving.build,
    "stream.json": stream.build,
    "business.json": business.build,
}


def render(name: str) -> str:
    """A dashboard's file, the same every time."""
    return json.dumps(DASHBOARDS[name](), cls=JSONEncoder, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def main() -> None:
    for name in DASHBOARDS:
        (FOLDER / name).write_text(render(name), encoding="utf-8")
        print(f"monitoring/grafana/dashboards/{name}")


if __name__ == "__main__":
    main()
