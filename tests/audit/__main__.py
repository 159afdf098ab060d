"""make audit: no secret in any commit, no known hole in a pinned package.

    python -m tests.audit secrets     every line that any commit ever added, through the plugins of detect-secrets
    python -m tests.audit packages    requirements/dev.txt through pip-audit, which asks PyPI

Exit code 0: nothing found; 1: something was; 3: it could not be looked for, which is not the same as nothing found.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detect_secrets.core.scan import _process_line_based_plugins
from detect_secrets.settings import default_settings

ROOT = Path(__file__).resolve().parents[2]
ALLOWED = Path(__file__).resolve().parent / "allowed.toml"


@dataclass
class Allowance:
    """What looks like a secret and is none: by path, kind and value, each a regular expression, with the reason."""

    path: re.Pattern[str]
    kind: re.Pattern[str]
    value: re.Pattern[str]
    reason: str
    uses: int = field(default=0, compare=False)

    def covers(self, found: Found) -> bool:
        fits = self.path.search(found.path) and self.kind.fullmatch(found.kind) and self.value.fullmatch(found.value)
        self.uses += bool(fits)
        return bool(fits)


@dataclass(frozen=True)
class Found:
    """Something like a secret, in a line that a commit added."""

    commit: str
    path: str
    kind: str
    value: str
    line: str


def allowances() -> list[Allowance]:
    entries = tomllib.loads(ALLOWED.read_text(encoding="utf-8"))["allowed"]
    return [
        Allowance(re.compile(e["path"]), re.compile(e["kind"]), re.compile(e["value"]), e["reason"]) for e in entries
    ]


def skipped() -> re.Pattern[str]:
    return re.compile(tomllib.loads(ALLOWED.read_text(encoding="utf-8"))["skipped"]["path"])


def history(*arguments: str) -> str:
    """What every commit of every branch added, merges beside each of their parents."""
    command = ["git", "log", "-p", "-m", "-U0", "--no-color", "--no-ext-diff", "--format=commit %H", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    return done.stdout.decode("utf-8", "replace")


def added(diff: str) -> Iterator[tuple[str, str, list[str]]]:
    """(commit, path, the lines that it added there), in order."""
    commit, path, lines = "", "", list[str]()
    for line in diff.split("\n"):
        starts = line.startswith(("commit ", "+++ "))
        if starts and lines:
            yield commit, path, lines
            lines = []
        if line.startswith("commit "):
            commit = line[7:]
        elif line.startswith("+++ "):
            path = line[6:]
        elif line.startswith("+"):
            lines.append(line[1:])
    if lines:
        yield commit, path, lines


def find(diff: str, ignored: re.Pattern[str]) -> Iterator[Found]:
    """Everything that looks like a secret, once a value and path."""
    seen: set[tuple[str, str, str]] = set()
    with default_settings():
        for commit, path, lines in added(diff):
            if ignored.search(path):
                continue
            for secret in _process_line_based_plugins(list(enumerate(lines, start=1)), filename=path):
                value = secret.secret_value or ""
                if (path, secret.type, value) not in seen:
                    seen.add((path, secret.type, value))
                    yield Found(commit[:10], path, secret.type, value, lines[secret.line_number - 1].strip()[:160])


def audit_secrets(diff: str) -> int:
    known = allowances()
    found = list(find(diff, skipped()))
    bad = [one for one in found if not any(allowance.covers(one) for allowance in known)]
    for one in bad:
        print(f"{one.commit} {one.path}: {one.kind}: {one.line}")
    idle = [allowance for allowance in known if not allowance.uses]
    for allowance in idle:
        print(f"allowed.toml: nothing needs this any more: {allowance.reason}")
    print(f"secrets: {len(found)} candidates in the history, {len(bad)} not explained in {ALLOWED.relative_to(ROOT)}")
    return 1 if bad or idle else 0


def audit_packages() -> int:
    tool = Path(sys.executable).parent / "pip-audit"
    pinned = ROOT / "requirements" / "dev.txt"
    options = ("--require-hashes", "--disable-pip", "--progress-spinner", "off", "--format", "json")
    command = [str(tool), *options, "-r", str(pinned)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    try:
        return judge_packages(json.loads(done.stdout)["dependencies"])
    except (ValueError, KeyError):
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        print(f"packages: NOT AUDITED: pip-audit gave no list ({last[:200]}); run it where a network is")
        return 3


def judge_packages(dependencies: list[dict[str, Any]]) -> int:
    """A package that PyPI does not tell of, as where only a mirror without its API can be reached, is not audited."""
    holes = [(one, hole) for one in dependencies for hole in one.get("vulns", ())]
    for one, hole in holes:
        mended = ", ".join(hole.get("fix_versions", ())) or "no release yet"
        print(f"{one['name']} {one['version']}: {hole['id']}, mended in {mended}")
    skipped_names = [one["name"] for one in dependencies if "skip_reason" in one]
    audited = len(dependencies) - len(skipped_names)
    print(f"packages: {audited} of {len(dependencies)} audited, {len(holes)} known holes")
    if skipped_names:
        few = ", ".join(skipped_names[:5])
        print(f"packages: NOT AUDITED: {len(skipped_names)} that PyPI did not tell of ({few}, ...); no network?")
    return 1 if holes else 3 if skipped_names else 0


def main() -> int:
    what = sys.argv[1:]
    if what not in (["secrets"], ["packages"]):
        print(__doc__)
        return 2
    return audit_secrets(history("--all")) if what == ["secrets"] else audit_packages()


if __name__ == "__main__":
    sys.exit(main())
