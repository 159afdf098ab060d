#!/usr/bin/env python3
"""Deploys an environment file to servers one after the other, and takes it back from all when one of them fails.

.ci/deploy/roll.py --env-file .env.cloud HOST HOST…

Each step on a host is `RUNNER HOST VERB`, where RUNNER is .ci/deploy/over-ssh unless DEPLOY_RUNNER names another, and
VERB is one of .ci/deploy/on-server. Before it changes a server it waits DEPLOY_SETTLE_SECONDS (10), for the balancer to
send requests again to one that has restarted, by this deployment or by the one before; else none would be left while
the other one does. The standard library alone: it runs on a clean machine.
Exit codes: 0 deployed; 1 nothing was changed; 3 taken back; 4 taking it back failed too, a person is needed.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

DEPLOYED, UNTOUCHED, TAKEN_BACK, BROKEN = 0, 1, 3, 4
STEP_SECONDS = 600
RUN_ID_LINE = re.compile(r"""^[ \t]*(?:export[ \t]+)?RUN_ID[ \t]*=[ \t]*["']?([^"'#\s]+)""", re.MULTILINE)


class StepFailed(Exception):
    """A step on a host did not succeed."""


class Servers:
    """Runs verbs on hosts, and shows what they say."""

    def __init__(self, runner: str) -> None:
        self._runner = shlex.split(runner)

    def run(self, host: str, *verb: str, given: str = "") -> str:
        """What the verb printed. Raises StepFailed with its last words."""
        print(f"==> {host}: {' '.join(verb)}", flush=True)
        try:
            done = subprocess.run(
                [*self._runner, host, *verb],
                input=given,
                capture_output=True,
                text=True,
                timeout=STEP_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise StepFailed(f"{host}: {' '.join(verb)}: {error}") from error
        for line in (done.stdout + done.stderr).splitlines()[-20:]:
            print(f"    {line}", flush=True)
        if done.returncode:
            last = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
            raise StepFailed(f"{host}: {' '.join(verb)} ended with {done.returncode}: {last}")
        return done.stdout.strip()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env-file", type=Path, default=Path(".env.cloud"))
    parser.add_argument("hosts", nargs="+", metavar="HOST")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a cancelled workflow takes back what it began
    text = options.env_file.read_text(encoding="utf-8")
    lines = RUN_ID_LINE.findall(text)
    if not lines:
        print(f"refused: {options.env_file} sets no RUN_ID", file=sys.stderr)
        return UNTOUCHED
    own = str(Path(__file__).with_name("over-ssh"))
    settle_seconds = float(os.environ.get("DEPLOY_SETTLE_SECONDS") or 10)
    return deploy(text, options.hosts, Servers(os.environ.get("DEPLOY_RUNNER", own)), settle_seconds)


def deploy(text: str, hosts: Sequence[str], servers: Servers, settle_seconds: float) -> int:
    """Look, change one host after the other, and look again. A host that does not serve beforehand, or any more just
    before another is changed, ends it: taking down the one that does would leave none."""
    touched: list[str] = []
    try:
        for host in hosts:
            servers.run(host, "ready")
        run_id = servers.run(hosts[0], "validate", given=text).splitlines()[-1]
        for host in hosts:
            time.sleep(settle_seconds)  # a balancer cannot be asked whether it trusts the others again
            for other in hosts:
                if other != host:
                    servers.run(other, "ready")
            touched.append(host)
            servers.run(host, "apply", given=text)
            servers.run(host, "smoke", run_id)
    except (StepFailed, IndexError, KeyboardInterrupt) as error:
        why = str(error) or "cancelled"
        if not touched:
            print(f"refused: {why}; nothing was changed", file=sys.stderr)
            return UNTOUCHED
        print(f"failed: {why}; taking it back from {', '.join(touched)}", file=sys.stderr)
        return take_back(touched, servers, settle_seconds)
    print(f"deployed: run {run_id} on {', '.join(hosts)}")
    return DEPLOYED


def take_back(touched: Sequence[str], servers: Servers, settle_seconds: float) -> int:
    """The host that failed first, so that two serve again before the next one restarts. Not to be cut off."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    broken = []
    for host in reversed(touched):
        if host != touched[-1]:
            time.sleep(settle_seconds)
        try:
            servers.run(host, "back")
            servers.run(host, "ready")
        except StepFailed as error:
            broken.append(str(error))
    if broken:
        print(f"not taken back: {'; '.join(broken)}", file=sys.stderr)
        return BROKEN
    print(f"taken back: {', '.join(touched)} serve what they served before", file=sys.stderr)
    return TAKEN_BACK


if __name__ == "__main__":
    sys.exit(main())
