"""What each container takes, at rest and at 200 predictions a second through the gateway: after `make up-docker`.

python -m benchmarks.docker [--write]      (--write: also to benchmarks/results/docker.json)
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.machine import facts

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results" / "docker.json"
RATE, SECONDS, LOOKS = 200, 40, 5
WARM_UP_SECONDS = 5
Usage = dict[str, tuple[float, float]]
"""By service: CPU in % of one core (mean), memory in MB (largest)."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.docker", description="What each container takes.")
    parser.add_argument("--write", action="store_true", help=f"also write {RESULTS.relative_to(ROOT)}")
    write = parser.parse_args().write
    project = os.environ.get("COMPOSE_PROJECT_NAME", "churnwatch")
    rest = usage(project)
    load = traffic()
    time.sleep(WARM_UP_SECONDS)
    loaded = usage(project)
    said = json.loads(load.communicate(timeout=SECONDS * 4)[0])["sent"]["http"]
    print(f"{'container':<14} {'at rest':>18} {f'at {RATE}/s':>18}")
    for service in sorted(rest):
        cells = [f"{cpu:5.0f} % {megabytes:6.0f} MB" for cpu, megabytes in (rest[service], loaded[service])]
        print(f"{service:<14} {cells[0]:>18} {cells[1]:>18}")
    total = [sum(megabytes for _, megabytes in found.values()) for found in (rest, loaded)]
    print(f"in all {total[0]:,.0f} MB at rest, {total[1]:,.0f} MB loaded")
    print(f"{said['answered']:,} answered at {said['rate']:.0f}/s, {said['failed']} failed, {said['retries']} repeated")
    if write:
        found = {**machine(project), "http": said, "at_rest": named(rest), f"at_{RATE}_per_second": named(loaded)}
        RESULTS.write_text(json.dumps(found | {"images_mb": images(project)}, indent=1) + "\n", encoding="utf-8")
    return 0 if load.returncode == 0 and said["failed"] == 0 else 1


def machine(project: str) -> dict[str, Any]:
    """What it was measured on; `stand_ins` where base images are not those of their names."""
    labels = engine("ps", "--filter", f"label=com.docker.compose.project={project}", "--format", "{{.Labels}}")
    with tempfile.TemporaryDirectory() as folder:
        return {"machine": facts(Path(folder)), "stand_ins": any("stand-in" in line for line in labels)}


def named(found: Usage) -> dict[str, dict[str, float]]:
    return {name: {"cpu_percent": round(cpu, 1), "mb": round(mb, 1)} for name, (cpu, mb) in sorted(found.items())}


def images(project: str) -> dict[str, int]:
    """Sizes in MB of the images that this project runs, and of those of ours that it only calls."""
    running = engine("ps", "--filter", f"label=com.docker.compose.project={project}", "--format", "{{.Image}}")
    ours = engine("images", "--filter", "reference=churnwatch/*", "--format", "{{.Repository}}")
    names = sorted({*running, *ours})
    sizes = engine("image", "inspect", "--format", "{{.Size}}", *names)
    return {name: round(int(size) / 1e6) for name, size in zip(names, sizes, strict=True)}


def engine(*arguments: str) -> list[str]:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout.splitlines()


def traffic() -> subprocess.Popen[str]:
    """Simulated customers through the gateway, its certificate checked."""
    port = os.environ.get("GATEWAY_PORT", "8443")
    arguments = [*("--population", "--http", f"https://localhost:{port}", "--connections", "8", "--json")]
    arguments += ["--rate", str(RATE), "--rows", str(RATE * SECONDS)]
    secrets = ROOT / "secrets"
    known = {
        "SSL_CERT_FILE": str(secrets / "gateway_certificate"),
        "WEB_API_KEY": (secrets / "key_simulation").read_text().strip(),
    }
    command = [sys.executable, "-m", "simulation", "run", *arguments]
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | known, stdout=subprocess.PIPE, text=True)


def usage(project: str) -> Usage:
    """A few looks by the engine's own counters."""
    seen: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for _ in range(LOOKS):
        for line in engine("stats", "--no-stream", "--format", "{{.Name}} {{.CPUPerc}} {{.MemUsage}}"):
            name, cpu, memory = line.split()[:3]
            if name.startswith(f"{project}-"):
                service = name.removeprefix(f"{project}-").rpartition("-")[0]
                seen[service].append((float(cpu.rstrip("%")), _megabytes(memory)))
    return {name: (statistics.mean(c for c, _ in looks), max(m for _, m in looks)) for name, looks in seen.items()}


def _megabytes(text: str) -> float:
    units = {"GiB": 1024.0, "MiB": 1.0, "KiB": 1 / 1024, "B": 1 / 1024**2}
    unit = next(unit for unit in units if text.endswith(unit))
    return float(text.removesuffix(unit)) * units[unit]


if __name__ == "__main__":
    sys.exit(main())
